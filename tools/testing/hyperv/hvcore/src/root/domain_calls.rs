// SPDX-License-Identifier: GPL-2.0
//! What is asked for about device domains, done by [`super::domains`].

use super::domains::Mapping;
use super::{each, output_element, RootHost};
use crate::hypercall::control_word::Outcome;
use crate::hypercall::frame::Output;
use crate::hypercall::list::Span;
use crate::ids::{Gpa, Iova};
use crate::platform::Platform;
use crate::request::list::{List, PageNumber, Placement};
use crate::request::refusal::{Ended, Refusal};
use crate::request::root_domains::{DomainRequest, Map, Name, Size};
use crate::status::Status;

/// What a query says of a page that is not mapped.
const NOT_MAPPED: u64 = u64::MAX;

impl RootHost {
    pub(super) fn domain_request(
        &mut self,
        platform: &mut impl Platform,
        request: DomainRequest,
        span: Option<Span>,
    ) -> Ended {
        let RootHost { domains, pool, .. } = self;
        match request {
            DomainRequest::Create(domain) => domains.create(platform, pool, domain).into(),
            DomainRequest::Delete(domain) => domains.delete(platform, pool, domain).into(),
            DomainRequest::Attach(domain, rid) => domains.attach(platform, domain, rid).into(),
            DomainRequest::Detach(rid) => domains.detach(platform, rid).into(),
            DomainRequest::Map(map, first, pages) => self.map_pages(platform, map, first, pages, span),
            DomainRequest::MapSparse(map, pages) => self.map_sparse(platform, map, pages, span),
            DomainRequest::Unmap(domain, first) => self.unmap_pages(platform, domain, first, span),
            DomainRequest::UnmapSparse(domain, iovas) => self.unmap_sparse(platform, domain, iovas, span),
            DomainRequest::Query(domain, iovas, output) => self.query_pages(platform, domain, iovas, output, span),
        }
    }

    fn map_pages(
        &mut self,
        platform: &mut impl Platform,
        map: Map,
        first: Iova,
        pages: List<PageNumber>,
        span: Option<Span>,
    ) -> Ended {
        let RootHost { domains, pool, .. } = self;
        each(span, |index| {
            let target = page(pages.get(platform, index)?)?;
            let iova = further(first, u64::from(index) * map.size.bytes())?;
            let mapping = Mapping { target, size: map.size, access: map.access };
            domains.map(platform, pool, map.domain, iova, mapping)
        })
    }

    fn map_sparse(
        &mut self,
        platform: &mut impl Platform,
        map: Map,
        pages: List<Placement>,
        span: Option<Span>,
    ) -> Ended {
        let RootHost { domains, pool, .. } = self;
        each(span, |index| {
            let placement = pages.get(platform, index)?;
            let mapping = Mapping { target: page(placement.page)?, size: map.size, access: map.access };
            domains.map(platform, pool, map.domain, placement.iova, mapping)
        })
    }

    /// The elements are pages that follow each other, and there is no list.
    fn unmap_pages(&mut self, platform: &mut impl Platform, domain: Name, first: Iova, span: Option<Span>) -> Ended {
        let (indices, mut done) = (span.map_or(0..0, Span::indices), 0);
        let pages = u64::from(indices.end - indices.start);
        let start = further(first, u64::from(indices.start) * Size::Small.bytes());
        let RootHost { domains, pool, .. } = self;
        let result = start.and_then(|start| domains.unmap(platform, pool, domain, start, pages, &mut done));
        let Ended { outcome, violation } = result.into();
        // At most as many pages as the call has elements.
        let reps_completed = indices.start + done as u16;
        Ended { outcome: Outcome { reps_completed, ..outcome }, violation }
    }

    fn unmap_sparse(
        &mut self,
        platform: &mut impl Platform,
        domain: Name,
        iovas: List<Iova>,
        span: Option<Span>,
    ) -> Ended {
        let RootHost { domains, pool, .. } = self;
        each(span, |index| {
            let iova = iovas.get(platform, index)?;
            domains.unmap(platform, pool, domain, iova, 1, &mut 0)
        })
    }

    /// The output has the addresses in memory, or all ones.
    fn query_pages(
        &mut self,
        platform: &mut impl Platform,
        domain: Name,
        iovas: List<Iova>,
        output: Output,
        span: Option<Span>,
    ) -> Ended {
        let domains = &mut self.domains;
        each(span, |index| {
            let at = output_element(output, index, 8)?;
            let iova = iovas.get(platform, index)?;
            let leaf = domains.query(platform, domain, iova)?;
            let found = leaf.map_or(NOT_MAPPED, |leaf| leaf.page.0 + iova.0 % Size::Small.bytes());
            Ok(platform.write(at, &found.to_le_bytes()).map_err(|_| Status::INVALID_PARAMETER)?)
        })
    }
}

fn page(number: PageNumber) -> Result<Gpa, Refusal> {
    number.address().ok_or(Refusal::parameter("the number of no page"))
}

fn further(iova: Iova, bytes: u64) -> Result<Iova, Refusal> {
    iova.0.checked_add(bytes).map(Iova).ok_or(Refusal::parameter("an address that is wider than domains are"))
}
