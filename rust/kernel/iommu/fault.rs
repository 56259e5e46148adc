// SPDX-License-Identifier: GPL-2.0

//! Page requests: faults that somebody else resolves before the device goes on.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use super::domain::Pasid;
use crate::{
    bindings,
    types::Opaque, //
};

/// What became of a page request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageResponseCode {
    /// The pages are there.
    Success,
    /// They are not; the device may ask again.
    Invalid,
    /// They are not, and the device shall not ask again.
    Failure,
}

/// The answer to a page request.
#[repr(transparent)]
pub struct PageResponse(Opaque<bindings::iommu_page_response>);

impl PageResponse {
    /// # Safety
    ///
    /// `message` must be valid for `'a`.
    pub(super) unsafe fn from_raw<'a>(
        message: *mut bindings::iommu_page_response,
    ) -> &'a PageResponse {
        // SAFETY: By the caller's promise; the representation is transparent.
        unsafe { &*message.cast_const().cast() }
    }

    fn raw(&self) -> bindings::iommu_page_response {
        // SAFETY: By the type the message is valid, and not written meanwhile.
        unsafe { *self.0.get() }
    }

    /// What became of it.
    pub fn code(&self) -> PageResponseCode {
        match self.raw().code {
            bindings::iommu_page_response_code_IOMMU_PAGE_RESP_SUCCESS => PageResponseCode::Success,
            bindings::iommu_page_response_code_IOMMU_PAGE_RESP_INVALID => PageResponseCode::Invalid,
            _ => PageResponseCode::Failure,
        }
    }

    /// The group of requests that is answered, as the device has numbered it.
    pub fn group(&self) -> u32 {
        self.raw().grpid
    }

    /// The PASID that the requests had; 0 when they had none.
    pub fn pasid(&self) -> Pasid {
        Pasid::from_raw(self.raw().pasid)
    }
}
