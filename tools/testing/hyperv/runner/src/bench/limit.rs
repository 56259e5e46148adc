// SPDX-License-Identifier: GPL-2.0
//! Numbers that figures have to reach.

/// Figures have three decimal places: what does not differ in them does not differ.
const HALF_A_PLACE: f64 = 0.0005;

/// How a measured number has to lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Not above this number.
    AtMost(f64),
    /// At this number.
    Exactly(f64),
}

impl Limit {
    /// Whether a number lies as it should.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Limit::AtMost(limit) => value < limit + HALF_A_PLACE,
            Limit::Exactly(wanted) => (value - wanted).abs() < HALF_A_PLACE,
        }
    }

    /// The limit with so many decimal places.
    pub fn describe(self, places: usize) -> String {
        match self {
            Limit::AtMost(limit) => format!("<= {limit:.places$}"),
            Limit::Exactly(wanted) => format!("= {wanted:.places$}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_up_to_the_last_place() {
        assert!(
            Limit::AtMost(60.0).holds(60.0) && Limit::AtMost(60.0).holds(1.0) && !Limit::AtMost(60.0).holds(60.001)
        );
        assert!(
            Limit::Exactly(1.0).holds(1.0) && !Limit::Exactly(1.0).holds(1.001) && !Limit::Exactly(1.0).holds(0.999)
        );
        assert_eq!([Limit::AtMost(1.1).describe(3), Limit::Exactly(1.0).describe(0)], ["<= 1.100", "= 1"]);
    }
}
