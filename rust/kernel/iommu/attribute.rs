// SPDX-License-Identifier: GPL-2.0

//! Read-only attributes of an IOMMU, in `/sys/class/iommu`.
//!
//! C header: [`include/linux/device.h`](srctree/include/linux/device.h)

use crate::{
    bindings,
    fmt,
    prelude::*,
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    ptr, //
};

/// An attribute, read as one line.
///
/// [`Attribute::show`] is not told which IOMMU is asked about, so an attribute suits a driver that
/// has a single IOMMU.
pub trait Attribute: 'static {
    /// The file's name.
    const NAME: &'static CStr;

    /// Writes the value and the end of the line, together less than a page.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// The errors of `f`.
    fn show(f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// Formats an [`Attribute`].
struct Value<A>(PhantomData<A>);

impl<A: Attribute> fmt::Display for Value<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        A::show(f)
    }
}

/// The file of an attribute, for a `static`.
#[doc(hidden)]
pub struct File<A: Attribute> {
    raw: Opaque<bindings::device_attribute>,
    _attribute: PhantomData<fn() -> A>,
}

// SAFETY: sysfs only reads the file's description, except for what lockdep keeps in it under a lock
// of its own.
unsafe impl<A: Attribute> Sync for File<A> {}

impl<A: Attribute> File<A> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> File<A> {
        let mut raw: bindings::device_attribute = pin_init::zeroed();
        raw.attr.name = A::NAME.to_bytes_with_nul().as_ptr();
        raw.attr.mode = 0o444;
        raw.__bindgen_anon_1.show = Some(Self::show);
        File {
            raw: Opaque::new(raw),
            _attribute: PhantomData,
        }
    }

    pub const fn as_raw(&'static self) -> *mut bindings::attribute {
        // The attribute is the first field.
        const { assert!(core::mem::offset_of!(bindings::device_attribute, attr) == 0) };
        self.raw.get().cast()
    }

    /// # Safety
    ///
    /// To be called by the device core as `show` only.
    unsafe extern "C" fn show(
        _dev: *mut bindings::device,
        _attribute: *mut bindings::device_attribute,
        #[cfg_attr(not(CONFIG_SYSFS), allow(unused))] buf: *mut crate::ffi::c_char,
    ) -> isize {
        #[cfg(CONFIG_SYSFS)]
        {
            let value = Value::<A>(PhantomData);
            // SAFETY: sysfs passes a buffer of a page, which the function expects. "%pA" takes a
            // pointer to format arguments, which live until the function returns.
            let written = unsafe {
                bindings::sysfs_emit(
                    buf,
                    c"%pA".as_char_ptr(),
                    ptr::from_ref(&fmt!("{value}")).cast::<crate::ffi::c_void>(),
                )
            };
            written as isize
        }
        // Without sysfs nobody calls this.
        #[cfg(not(CONFIG_SYSFS))]
        0
    }
}

/// A list of pointers that sysfs reads.
#[doc(hidden)]
#[repr(transparent)]
pub struct List<T, const N: usize>([T; N]);

// SAFETY: Safe code can get at the pointers in the list only, not at what they point to.
unsafe impl<T, const N: usize> Sync for List<*mut T, N> {}
// SAFETY: As for mutable pointers.
unsafe impl<T, const N: usize> Sync for List<*const T, N> {}

impl<T, const N: usize> List<T, N> {
    pub const fn new(pointers: [T; N]) -> List<T, N> {
        List(pointers)
    }
}

/// A directory of attributes.
#[doc(hidden)]
pub struct Group(bindings::attribute_group);

// SAFETY: A group is never written after it was made.
unsafe impl Sync for Group {}

impl Group {
    /// # Safety
    ///
    /// The list must hold pointers from [`File::as_raw`], and a null pointer at its end.
    pub const unsafe fn new<const N: usize>(
        name: &'static CStr,
        attributes: &'static List<*mut bindings::attribute, N>,
    ) -> Group {
        let mut raw: bindings::attribute_group = pin_init::zeroed();
        raw.name = name.to_bytes_with_nul().as_ptr();
        raw.__bindgen_anon_2.attrs = attributes.0.as_ptr().cast_mut();
        Group(raw)
    }

    pub const fn as_raw(&'static self) -> *const bindings::attribute_group {
        &self.0
    }
}

/// The attributes of an IOMMU, made by [`attribute_group!`](crate::iommu_attribute_group).
#[derive(Clone, Copy)]
pub struct Attributes(&'static List<*const bindings::attribute_group, 2>);

impl Attributes {
    /// # Safety
    ///
    /// The list must hold a pointer from [`Group::as_raw`], and a null pointer at its end.
    #[doc(hidden)]
    pub const unsafe fn new(
        groups: &'static List<*const bindings::attribute_group, 2>,
    ) -> Attributes {
        Attributes(groups)
    }

    pub(super) fn as_raw(self) -> *mut *const bindings::attribute_group {
        self.0 .0.as_ptr().cast_mut()
    }
}

/// Makes a `const` of type [`Attributes`]: a directory with one file for each attribute.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fmt,
///     iommu::attribute::{
///         Attribute,
///         Attributes, //
///     },
///     iommu_attribute_group,
/// };
///
/// struct Answer;
///
/// impl Attribute for Answer {
///     const NAME: &'static CStr = c"answer";
///
///     fn show(f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         writeln!(f, "42")
///     }
/// }
///
/// const ATTRIBUTES: Attributes = iommu_attribute_group!(c"my-iommu", [Answer]);
/// # let _ = ATTRIBUTES;
/// ```
#[macro_export]
macro_rules! iommu_attribute_group {
    ($name:expr, [$($attribute:ty),+ $(,)?]) => {{
        use $crate::iommu::attribute::{
            Attributes,
            File,
            Group,
            List, //
        };
        const COUNT: usize = [$(stringify!($attribute)),+].len() + 1;
        static FILES: List<*mut $crate::bindings::attribute, COUNT> = List::new([
            $({
                static FILE: File<$attribute> = File::new();
                FILE.as_raw()
            },)+
            core::ptr::null_mut(),
        ]);
        // SAFETY: The list holds files, and ends with a null pointer.
        static GROUP: Group = unsafe { Group::new($name, &FILES) };
        static GROUPS: List<*const $crate::bindings::attribute_group, 2> =
            List::new([GROUP.as_raw(), core::ptr::null()]);
        // SAFETY: The list holds a group, and ends with a null pointer.
        unsafe { Attributes::new(&GROUPS) }
    }};
}
