// SPDX-License-Identifier: GPL-2.0
//! The chart of the deferred window: how long an address that was unmapped could still be used.

use maud::{html, Markup};

/// Size of the picture, in its own units; the page scales it.
const SIZE: (u64, u64) = (400, 160);
/// Room for the axes and their words.
const MARGIN: (u64, u64) = (64, 4);

/// A bar for each sample, the shortest first. Nothing without samples.
pub fn chart(samples: &[u64]) -> Markup {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let (Some(&longest), count) = (sorted.last(), sorted.len() as u64) else { return html! {} };
    let (width, height) = (SIZE.0 - MARGIN.0, SIZE.1 - MARGIN.1);
    let top = longest.max(1);
    let median = sorted[sorted.len() / 2];
    html! {
        figure {
            svg viewBox=(format!("0 0 {} {}", SIZE.0, SIZE.1)) role="img"
                aria-label=(format!("{count} samples, median {median} microseconds, longest {longest}")) {
                @for (index, sample) in (0_u64..).zip(&sorted) {
                    @let tall = (sample * (height - 8) / top).max(1);
                    rect class="bar" x=(MARGIN.0 + index * width / count) y=(height - tall)
                        width=((width / count).max(2) - 1) height=(tall) {}
                }
                line class="axis" x1=(MARGIN.0) y1=(height) x2=(SIZE.0) y2=(height) {}
                text x=(MARGIN.0 - 6) y="14" text-anchor="end" { (longest) " µs" }
                text x=(MARGIN.0 - 6) y=(height) text-anchor="end" { "0" }
            }
            figcaption { (count) " transfers that reached memory, the earliest first; median " (median) " µs" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_for_each_sample() {
        let text = chart(&[900, 0, 300]).into_string();
        assert_eq!(text.matches("<rect").count(), 3);
        assert!(text.contains("median 300 µs") && text.contains("900 µs"), "{text}");
        roxmltree::Document::parse(&text).unwrap();
        assert_eq!(chart(&[]).into_string(), "");
        assert!(chart(&vec![1; 5000]).into_string().contains("5000 transfers"));
    }
}
