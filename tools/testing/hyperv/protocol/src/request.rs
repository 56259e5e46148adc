// SPDX-License-Identifier: GPL-2.0
//! What the guest program asks of the machine that only somebody outside can do: a remark in its report, by which the
//! runner knows what is wanted.

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A non-maskable interrupt.
    Nmi,
}

impl Request {
    /// The remark.
    pub const fn remark(self) -> &'static str {
        match self {
            Request::Nmi => "the guest asks for an NMI",
        }
    }

    /// What a remark asks for.
    pub fn of(remark: &str) -> Option<Request> {
        [Request::Nmi].into_iter().find(|request| request.remark() == remark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_are_requests_or_not() {
        assert_eq!(Request::of(Request::Nmi.remark()), Some(Request::Nmi));
        assert_eq!(Request::of("waited 4.2 s for an NMI"), None);
    }
}
