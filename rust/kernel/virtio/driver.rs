// SPDX-License-Identifier: GPL-2.0

//! What a virtio driver implements.

use super::device::{
    Device,
    Feature, //
};
use crate::{
    bindings,
    device,
    device_id::RawDeviceId,
    driver,
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    types::Opaque,
    ThisModule, //
};
use core::mem::offset_of;

/// A type of device.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct DeviceId(bindings::virtio_device_id);

impl DeviceId {
    /// An IOMMU.
    pub const IOMMU: DeviceId = DeviceId::new(bindings::VIRTIO_ID_IOMMU);

    /// Devices of that type, of any vendor.
    pub const fn new(device: u32) -> DeviceId {
        DeviceId(bindings::virtio_device_id {
            device,
            vendor: bindings::VIRTIO_DEV_ANY_ID,
        })
    }
}

// SAFETY: `DeviceId` is a transparent wrapper of `struct virtio_device_id`.
unsafe impl RawDeviceId for DeviceId {
    type RawType = bindings::virtio_device_id;
}

/// The types of device that a driver serves.
pub type IdTable = &'static dyn crate::device_id::IdTable<DeviceId, ()>;

/// Makes an [`IdTable`], with what loads the module when there is such a device.
#[macro_export]
macro_rules! virtio_device_table {
    ($table:ident, [$($id:expr),* $(,)?]) => {
        $crate::module_device_table!(
            "virtio", $crate::virtio::driver::DeviceId, $table, @none, [$($id),*]
        );
    };
}

/// Who may take the driver off a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbinding {
    /// User space, in sysfs.
    Allowed,
    /// Nobody, as long as device and driver exist.
    Refused,
}

/// What becomes of a device when the machine is switched off or restarted, or another kernel is
/// started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// The core resets the device. Its queues are broken from then on.
    Reset,
    /// The device goes on, and uses the buffers that it has. That is for a device which other
    /// devices need for their DMA: they may be shut down later.
    GoesOn,
}

/// A virtio driver.
pub trait Driver {
    /// What the driver keeps for each device. It is dropped when the queues are closed and the
    /// device is reset.
    type Data<'bound>: Send + 'bound;

    /// The types of device.
    const ID_TABLE: IdTable;

    /// The features that the driver knows.
    const FEATURES: &'static [Feature];

    /// Whether user space may take the driver off a device.
    const UNBINDING: Unbinding;

    /// What becomes of a device at shutdown.
    const SHUTDOWN: Shutdown;

    /// There is a device. When this fails, its queues are closed, and it is reset.
    ///
    /// Context: may sleep.
    fn probe<'bound>(
        device: &'bound Device<device::Core<'_>>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound;

    /// The driver is taken off the device, whose queues are still open.
    ///
    /// Context: may sleep.
    fn unbind<'bound>(device: &'bound Device<device::Core<'_>>, data: Pin<&Self::Data<'bound>>) {
        let _ = (device, data);
    }
}

/// Registers virtio drivers.
pub struct Adapter<T: Driver>(T);

// SAFETY: `struct virtio_driver` is a C type, which embeds a `struct device_driver` at that offset;
// `T::Data` is what `probe_callback` stores.
unsafe impl<T: Driver> driver::DriverLayout for Adapter<T> {
    type DriverType = bindings::virtio_driver;
    type DriverData<'bound> = T::Data<'bound>;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(Self::DriverType, driver);
}

// SAFETY: After `register` has succeeded, the driver can be unregistered.
unsafe impl<T: Driver> driver::RegistrationOps for Adapter<T> {
    unsafe fn register(
        driver: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: The structure is not registered yet: its fields can be set. `Feature` is a
        // transparent wrapper of what the table holds.
        unsafe {
            let raw = driver.get();
            (*raw).driver.name = name.as_char_ptr();
            (*raw).driver.suppress_bind_attrs = T::UNBINDING == Unbinding::Refused;
            (*raw).id_table = T::ID_TABLE.as_ptr();
            (*raw).feature_table = T::FEATURES.as_ptr().cast();
            (*raw).feature_table_size = T::FEATURES.len() as u32;
            (*raw).probe = Some(Self::probe_callback);
            (*raw).remove = Some(Self::remove_callback);
            (*raw).freeze = Some(Self::freeze_callback);
            (*raw).shutdown = match T::SHUTDOWN {
                // What the core does without a callback.
                Shutdown::Reset => None,
                Shutdown::GoesOn => Some(Self::go_on_callback),
            };
        }
        // SAFETY: By the caller's promise the driver stays where it is until it is unregistered.
        to_result(unsafe { bindings::__register_virtio_driver(driver.get(), module.as_ptr()) })
    }

    unsafe fn unregister(driver: &Opaque<Self::DriverType>) {
        // SAFETY: By the caller's promise it is registered.
        unsafe { bindings::unregister_virtio_driver(driver.get()) }
    }
}

impl<T: Driver> Adapter<T> {
    extern "C" fn probe_callback(device: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The virtio bus passes a valid device, for the length of the callback.
        let device = unsafe { &*device.cast::<Device<device::CoreInternal<'_>>>() };
        device.begin();
        from_result(|| {
            let data = T::probe(device);
            device
                .as_ref()
                .set_drvdata(data)
                .inspect_err(|_| device.end())?;
            Ok(0)
        })
    }

    extern "C" fn remove_callback(device: *mut bindings::virtio_device) {
        // SAFETY: The virtio bus passes a valid device, for the length of the callback.
        let device = unsafe { &*device.cast::<Device<device::CoreInternal<'_>>>() };
        // SAFETY: The bus removes what was probed with success: `probe_callback` has stored the
        // data.
        let data = unsafe { device.as_ref().drvdata_borrow::<T::Data<'_>>() };
        T::unbind(device, data);
        device.end();
    }

    /// The system does not sleep while the driver is bound: a device that was reset has lost its
    /// queues, and no driver here opens them again.
    extern "C" fn freeze_callback(_device: *mut bindings::virtio_device) -> c_int {
        EOPNOTSUPP.to_errno()
    }

    extern "C" fn go_on_callback(_device: *mut bindings::virtio_device) {}
}

/// Declares a kernel module that holds one virtio driver.
#[macro_export]
macro_rules! module_virtio_driver {
    ($($f:tt)*) => {
        $crate::module_driver!(<T>, $crate::virtio::driver::Adapter<T>, { $($f)* });
    };
}
