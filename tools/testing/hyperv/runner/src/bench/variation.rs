// SPDX-License-Identifier: GPL-2.0
//! What figures vary by when nothing but the place of the guest's memory changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::change::TOLERANCE;
use super::figure::Figures;

/// Few boots show less than the whole range: two results may lie so many times further apart before the difference says
/// anything about the code.
const MARGIN: f64 = 1.5;
/// Decimal places that are kept of a variation.
const PLACES: f64 = 10_000.0;

/// For figures that vary by more than [`TOLERANCE`], by how much: the difference of the largest and the smallest value
/// over the value of the first boot. The others are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Variation(BTreeMap<String, f64>);

impl Variation {
    /// What the figures of several boots vary by. Figures that not all of them have are left out.
    pub fn of<'a>(boots: impl Iterator<Item = &'a Figures>) -> Variation {
        let boots: Vec<&Figures> = boots.collect();
        let Some(first) = boots.first() else { return Variation::default() };
        let relative = |name: &str| {
            let values: Option<Vec<f64>> = boots.iter().map(|figures| figures.value(name)).collect();
            let values = values?;
            let (least, most) =
                values.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), v| (least.min(*v), most.max(*v)));
            (values[0] > 0.0).then(|| (PLACES * (most - least) / values[0]).ceil() / PLACES)
        };
        let varying = first.iter().filter_map(|(name, _)| Some((name.to_owned(), relative(name)?)));
        Variation(varying.filter(|(_, relative)| *relative > TOLERANCE).collect())
    }

    /// How much a figure varies, relative; 0 for one that does not by more than [`TOLERANCE`].
    pub fn of_figure(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// The relative difference up to which two values of a figure count as the same.
    pub fn tolerance(&self, name: &str) -> f64 {
        MARGIN * self.of_figure(name)
    }

    /// Names and variations, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, relative)| (name.as_str(), *relative))
    }

    /// Whether no figure varies.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One figure that varies.
#[cfg(test)]
pub fn sample(name: &str, by: f64) -> Variation {
    Variation(BTreeMap::from([(name.to_owned(), by)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(text: &str) -> Figures {
        Figures::read(text.lines()).unwrap()
    }

    #[test]
    fn the_range_over_the_first_value() {
        let boots = [
            figures("bench: a 1000 instructions\nbench: b 100 calls\nbench: c 0 calls\nbench: d 5 calls"),
            figures("bench: a 1020 instructions\nbench: b 100 calls\nbench: c 1 calls\nbench: d 5 calls"),
            figures("bench: a 970 instructions\nbench: b 100.4 calls\nbench: c 0 calls"),
        ];
        let variation = Variation::of(boots.iter());
        assert_eq!(variation.iter().collect::<Vec<_>>(), [("a", 0.05)]);
        assert_eq!([variation.of_figure("a"), variation.of_figure("b")], [0.05, 0.0]);
        assert!((variation.tolerance("a") - 0.075).abs() < 1e-9);
        assert!(Variation::of(std::iter::empty()).is_empty());
    }

    #[test]
    fn files_hold_it() {
        let variation = Variation::of([figures("bench: a 10 calls"), figures("bench: a 11 calls")].iter());
        let text = serde_json::to_string(&variation).unwrap();
        assert_eq!(text, r#"{"a":0.1}"#);
        assert_eq!(serde_json::from_str::<Variation>(&text).unwrap(), variation);
    }
}
