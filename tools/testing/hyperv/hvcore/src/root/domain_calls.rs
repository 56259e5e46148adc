// SPDX-License-Identifier: GPL-2.0
//! The calls about device domains, from their inputs to [`super::domains`].

use super::calls::DomainCall;
use super::domain_layout as layout;
use super::domains::Mapping;
use super::refusal::Refusal;
use super::stage2::Size;
use super::{each, output_element, Ended, RootHost, PAGE_SHIFT};
use crate::hypercall::control_word::Outcome;
use crate::hypercall::dispatch::Request;
use crate::ids::{Gpa, Iova};
use crate::platform::Platform;
use crate::status::Status;

/// What a query says of a page that is not mapped.
const NOT_MAPPED: u64 = u64::MAX;

impl RootHost {
    pub(super) fn domain_call(
        &mut self,
        platform: &mut impl Platform,
        call: DomainCall,
        request: &Request<'_>,
    ) -> Ended {
        let RootHost { domains, pool, .. } = self;
        let input = request.input;
        match call {
            DomainCall::Create => {
                layout::create(input).and_then(|domain| domains.create(platform, pool, domain)).into()
            }
            DomainCall::Delete => {
                layout::delete(input).and_then(|domain| domains.delete(platform, pool, domain)).into()
            }
            DomainCall::Attach => {
                layout::attach(input).and_then(|(domain, rid)| domains.attach(platform, domain, rid)).into()
            }
            DomainCall::Detach => layout::detach(input).and_then(|rid| domains.detach(platform, rid)).into(),
            DomainCall::Map => self.map_pages(platform, request),
            DomainCall::Unmap => self.unmap_pages(platform, request),
            DomainCall::MapSparse => self.map_sparse(platform, request),
            DomainCall::UnmapSparse => self.unmap_sparse(platform, request),
            DomainCall::Query => self.query_pages(platform, request),
        }
    }

    /// Each element is the number of a page; addresses follow each other.
    fn map_pages(&mut self, platform: &mut impl Platform, request: &Request<'_>) -> Ended {
        let RootHost { domains, pool, .. } = self;
        each(layout::map_from(request.input), request.list, |&(map, first), list, index| {
            let target = page(list.element(platform, index)?)?;
            let iova = further(first, u64::from(index) * map.size.bytes())?;
            let mapping = Mapping { target, size: map.size, access: map.access };
            domains.map(platform, pool, map.domain, iova, mapping)
        })
    }

    /// Each element is an address and the number of a page.
    fn map_sparse(&mut self, platform: &mut impl Platform, request: &Request<'_>) -> Ended {
        let RootHost { domains, pool, .. } = self;
        each(layout::map(request.input), request.list, |map, list, index| {
            let target = page(list.second_word(platform, index)?)?;
            let iova = Iova(list.element(platform, index)?);
            let mapping = Mapping { target, size: map.size, access: map.access };
            domains.map(platform, pool, map.domain, iova, mapping)
        })
    }

    /// The elements are pages that follow each other, and there is no list.
    fn unmap_pages(&mut self, platform: &mut impl Platform, request: &Request<'_>) -> Ended {
        let parts = layout::unmap_from(request.input);
        let (Ok((domain, first)), Some(list)) = (parts, request.list) else {
            return parts.map(|_| ()).into();
        };
        let (indices, mut done) = (list.indices(), 0);
        let pages = u64::from(indices.end - indices.start);
        let start = further(first, u64::from(indices.start) * Size::Small.bytes());
        let RootHost { domains, pool, .. } = self;
        let result = start.and_then(|start| domains.unmap(platform, pool, domain, start, pages, &mut done));
        let Ended { outcome, violation } = result.into();
        // At most as many pages as the call has elements.
        let reps_completed = indices.start + done as u16;
        Ended { outcome: Outcome { reps_completed, ..outcome }, violation }
    }

    /// Each element is an address.
    fn unmap_sparse(&mut self, platform: &mut impl Platform, request: &Request<'_>) -> Ended {
        let RootHost { domains, pool, .. } = self;
        each(layout::addresses(request.input), request.list, |&domain, list, index| {
            let iova = Iova(list.element(platform, index)?);
            domains.unmap(platform, pool, domain, iova, 1, &mut 0)
        })
    }

    /// Each element is an address; the output has the address in memory, or all ones.
    fn query_pages(&mut self, platform: &mut impl Platform, request: &Request<'_>) -> Ended {
        let domains = &mut self.domains;
        each(layout::addresses(request.input), request.list, |&domain, list, index| {
            let at = output_element(request, index, 8)?;
            let iova = Iova(list.element(platform, index)?);
            let leaf = domains.query(platform, domain, iova)?;
            let found = leaf.map_or(NOT_MAPPED, |leaf| leaf.page.0 + iova.0 % Size::Small.bytes());
            Ok(platform.write(at, &found.to_le_bytes()).map_err(|_| Status::INVALID_PARAMETER)?)
        })
    }
}

/// The page with this number.
fn page(number: u64) -> Result<Gpa, Refusal> {
    match number >> (u64::BITS - PAGE_SHIFT) {
        0 => Ok(Gpa(number << PAGE_SHIFT)),
        _ => Err(Refusal::parameter("the number of no page")),
    }
}

fn further(iova: Iova, bytes: u64) -> Result<Iova, Refusal> {
    iova.0.checked_add(bytes).map(Iova).ok_or(Refusal::parameter("an address that is wider than domains are"))
}
