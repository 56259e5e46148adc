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

/// A type of device, for a driver's table.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct DeviceId(bindings::virtio_device_id);

impl DeviceId {
    /// An IOMMU.
    pub const IOMMU: DeviceId = DeviceId::new(bindings::VIRTIO_ID_IOMMU);

    /// All devices of a type, of any vendor.
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

/// Makes an [`IdTable`]. The module is loaded when such a device appears.
#[macro_export]
macro_rules! virtio_device_table {
    ($table:ident, [$($id:expr),* $(,)?]) => {
        $crate::module_device_table!(
            "virtio", $crate::virtio::driver::DeviceId, $table, @none, [$($id),*]
        );
    };
}

/// Who may unbind the driver from a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbinding {
    /// User space, in sysfs.
    Allowed,
    /// Nobody, as long as device and driver exist.
    Refused,
}

/// What happens to a device when the machine is switched off or restarted, or when another kernel
/// is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// The core resets the device. Its queues are broken from then on.
    Reset,
    /// The device goes on, and uses the buffers that it has. This is for a device that other
    /// devices need for their DMA, as these may be shut down later.
    GoesOn,
}

/// A virtio driver.
///
/// # Examples
///
/// ```
/// use kernel::{
///     device::Core,
///     virtio::{
///         device::Feature,
///         driver::{
///             DeviceId,
///             Driver,
///             IdTable,
///             Shutdown,
///             Unbinding, //
///         },
///         Device, //
///     }, //
/// };
///
/// struct MyDriver;
///
/// kernel::virtio_device_table!(DEVICES, [DeviceId::new(4)]);
///
/// impl Driver for MyDriver {
///     type Data<'bound> = ();
///
///     const ID_TABLE: IdTable = &DEVICES;
///     const FEATURES: &'static [Feature] = &[Feature::VERSION_1];
///     const UNBINDING: Unbinding = Unbinding::Allowed;
///     const SHUTDOWN: Shutdown = Shutdown::Reset;
///
///     fn probe<'bound>(
///         device: &'bound Device<Core<'_>>,
///     ) -> impl PinInit<(), Error> + 'bound {
///         dev_info!(device.as_ref(), "is there\n");
///         Ok(())
///     }
/// }
/// ```
pub trait Driver {
    /// What the driver keeps for each device. It is dropped after the queues are closed and the
    /// device is reset.
    type Data<'bound>: Send + 'bound;

    /// The types of device that the driver serves.
    const ID_TABLE: IdTable;

    /// The features that the driver knows.
    const FEATURES: &'static [Feature];

    /// Whether user space may unbind the driver from a device.
    const UNBINDING: Unbinding;

    /// What happens to a device at shutdown.
    const SHUTDOWN: Shutdown;

    /// Starts to serve a device. If this fails, its queues are closed, and the device is reset.
    ///
    /// Context: may sleep.
    fn probe<'bound>(
        device: &'bound Device<device::Core<'_>>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound;

    /// Called before the driver is unbound from the device. The queues are still open.
    ///
    /// Context: may sleep.
    fn unbind<'bound>(device: &'bound Device<device::Core<'_>>, data: Pin<&Self::Data<'bound>>) {
        let _ = (device, data);
    }
}

/// Registers virtio drivers.
pub struct Adapter<T: Driver>(T);

// SAFETY: `struct virtio_driver` is a C type with a `struct device_driver` at this offset.
// `probe_callback` stores a `T::Data`.
unsafe impl<T: Driver> driver::DriverLayout for Adapter<T> {
    type DriverType = bindings::virtio_driver;
    type DriverData<'bound> = T::Data<'bound>;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(Self::DriverType, driver);
}

// SAFETY: When `register` has succeeded, the driver is registered and can be unregistered.
unsafe impl<T: Driver> driver::RegistrationOps for Adapter<T> {
    unsafe fn register(
        driver: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: The structure is not registered yet, so its fields may be set. `Feature` is a
        // transparent wrapper of the table's element type.
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
                // Without a callback the core resets the device.
                Shutdown::Reset => None,
                Shutdown::GoesOn => Some(Self::go_on_callback),
            };
        }
        // SAFETY: The caller promises that the driver does not move until it is unregistered.
        to_result(unsafe { bindings::__register_virtio_driver(driver.get(), module.as_ptr()) })
    }

    unsafe fn unregister(driver: &Opaque<Self::DriverType>) {
        // SAFETY: The caller promises that the driver is registered.
        unsafe { bindings::unregister_virtio_driver(driver.get()) }
    }
}

impl<T: Driver> Adapter<T> {
    extern "C" fn probe_callback(device: *mut bindings::virtio_device) -> c_int {
        // SAFETY: The virtio bus passes a device that is valid for the length of the callback.
        // `Device` is a transparent wrapper of it.
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
        // SAFETY: The virtio bus passes a device that is valid for the length of the callback.
        // `Device` is a transparent wrapper of it.
        let device = unsafe { &*device.cast::<Device<device::CoreInternal<'_>>>() };
        // SAFETY: The bus removes only devices that were probed with success, so `probe_callback`
        // has stored the data.
        let data = unsafe { device.as_ref().drvdata_borrow::<T::Data<'_>>() };
        T::unbind(device, data);
        device.end();
    }

    /// Refuses to let the system sleep while the driver is bound. Sleep resets the device, which
    /// then has no queues, and these abstractions cannot open them again.
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
