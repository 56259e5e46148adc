// SPDX-License-Identifier: GPL-2.0

//! Page requests: faults that software resolves before the device goes on.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use super::domain::Pasid;
use crate::{
    bindings,
    types::Opaque, //
};

/// The result of a page request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageResponseCode {
    /// The pages are mapped now.
    Success,
    /// The pages are not mapped. The device may ask again.
    Invalid,
    /// The pages are not mapped, and the device shall not ask again.
    Failure,
}

/// The answer to a page request.
///
/// # Examples
///
/// ```
/// use kernel::iommu::fault::{
///     PageResponse,
///     PageResponseCode, //
/// };
///
/// /// The answer as an IOMMU might take it.
/// fn to_command(response: &PageResponse) -> [u32; 2] {
///     let code = match response.code() {
///         PageResponseCode::Success => 0,
///         PageResponseCode::Invalid => 1,
///         PageResponseCode::Failure => 15,
///     };
///     [response.pasid().as_u32(), code << 16 | response.group()]
/// }
/// ```
#[repr(transparent)]
pub struct PageResponse(Opaque<bindings::iommu_page_response>);

impl PageResponse {
    /// # Safety
    ///
    /// `message` must be valid for `'a`.
    pub(super) unsafe fn from_raw<'a>(
        message: *mut bindings::iommu_page_response,
    ) -> &'a PageResponse {
        // SAFETY: The caller promises that `message` is valid for `'a`. The representation is
        // transparent.
        unsafe { &*message.cast_const().cast() }
    }

    fn raw(&self) -> bindings::iommu_page_response {
        // SAFETY: The message is valid, and nobody writes it while it is borrowed.
        unsafe { *self.0.get() }
    }

    /// The result.
    pub fn code(&self) -> PageResponseCode {
        match self.raw().code {
            bindings::iommu_page_response_code_IOMMU_PAGE_RESP_SUCCESS => PageResponseCode::Success,
            bindings::iommu_page_response_code_IOMMU_PAGE_RESP_INVALID => PageResponseCode::Invalid,
            _ => PageResponseCode::Failure,
        }
    }

    /// The number that the device gave to the group of requests that this answers.
    pub fn group(&self) -> u32 {
        self.raw().grpid
    }

    /// The PASID of the requests; 0 if they had none.
    pub fn pasid(&self) -> Pasid {
        Pasid::from_raw(self.raw().pasid)
    }
}
