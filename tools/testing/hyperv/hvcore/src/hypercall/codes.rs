// SPDX-License-Identifier: GPL-2.0
//! Call codes.

use core::fmt;

/// A hypercall's number: bits 15:0 of its control word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallCode(pub u16);

macro_rules! codes {
    ($($name:ident = $value:literal;)*) => {
        impl CallCode {
            $(
                #[doc = concat!("`HVCALL_", stringify!($name), "`.")]
                pub const $name: CallCode = CallCode($value);
            )*

            /// The call's name; `None` for one that is not offered.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    GET_LOGICAL_PROCESSOR_RUN_TIME = 0x0004;
    GET_PARTITION_PROPERTY = 0x0044;
    GET_PARTITION_ID = 0x0046;
    DEPOSIT_MEMORY = 0x0048;
    WITHDRAW_MEMORY = 0x0049;
    CREATE_VP = 0x004e;
    POST_MESSAGE = 0x005c;
    SIGNAL_EVENT = 0x005d;
    MAP_STATS_PAGE = 0x006c;
    UNMAP_STATS_PAGE = 0x006d;
    SET_SYSTEM_PROPERTY = 0x006f;
    ADD_LOGICAL_PROCESSOR = 0x0076;
    GET_SYSTEM_PROPERTY = 0x007b;
    MAP_DEVICE_INTERRUPT = 0x007c;
    UNMAP_DEVICE_INTERRUPT = 0x007d;
    RETARGET_INTERRUPT = 0x007e;
    ENTER_SLEEP_STATE = 0x0084;
    NOTIFY_PARTITION_EVENT = 0x0087;
    GET_VP_INDEX_FROM_APIC_ID = 0x009a;
    CREATE_DEVICE_DOMAIN = 0x00b1;
    ATTACH_DEVICE_DOMAIN = 0x00b2;
    MAP_DEVICE_GPA_PAGES = 0x00b3;
    UNMAP_DEVICE_GPA_PAGES = 0x00b4;
    DETACH_DEVICE_DOMAIN = 0x00c4;
    DELETE_DEVICE_DOMAIN = 0x00c5;
    QUERY_DEVICE_DOMAIN = 0x00c6;
    MAP_SPARSE_DEVICE_GPA_PAGES = 0x00c7;
    UNMAP_SPARSE_DEVICE_GPA_PAGES = 0x00c8;
    CONFIGURE_DEVICE_DOMAIN = 0x00ce;
    FLUSH_DEVICE_DOMAIN = 0x00d0;
    FLUSH_DEVICE_DOMAIN_LIST = 0x00d1;
    GET_PARTITION_PROPERTY_EX = 0x0101;
    MMIO_READ = 0x0106;
    MMIO_WRITE = 0x0107;
    GET_IOMMU_CAPABILITIES = 0x0125;
    GET_LOGICAL_DEVICE_PROPERTY = 0x0127;
}

impl CallCode {
    /// Whether it is a call of the para-virtual IOMMU.
    pub const fn is_iommu(self) -> bool {
        matches!(
            self,
            CallCode::CREATE_DEVICE_DOMAIN
                | CallCode::ATTACH_DEVICE_DOMAIN
                | CallCode::DETACH_DEVICE_DOMAIN
                | CallCode::DELETE_DEVICE_DOMAIN
                | CallCode::CONFIGURE_DEVICE_DOMAIN
                | CallCode::FLUSH_DEVICE_DOMAIN
                | CallCode::FLUSH_DEVICE_DOMAIN_LIST
                | CallCode::GET_IOMMU_CAPABILITIES
                | CallCode::GET_LOGICAL_DEVICE_PROPERTY
        )
    }
}

/// `0xd1 FLUSH_DEVICE_DOMAIN_LIST`; the number alone when it has no name.
impl fmt::Display for CallCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)?;
        match self.name() {
            Some(name) => write!(f, " {name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for CallCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_the_call() {
        assert_eq!(CallCode(0xd1).to_string(), "0xd1 FLUSH_DEVICE_DOMAIN_LIST");
        assert_eq!(CallCode(0x8001).to_string(), "0x8001");
    }
}
