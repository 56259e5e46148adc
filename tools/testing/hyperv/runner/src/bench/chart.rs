// SPDX-License-Identifier: GPL-2.0
//! The chart: instructions of an operation, by driver and size of the mapping.

use anyhow::{anyhow, Context, Result};
use plotters::coord::ranged1d::{IntoSegmentedCoord, SegmentValue};
use plotters::prelude::*;

use super::reference::{ratio, Flushing, Operation, PAGES};
use super::results::{Results, COMMAND};
use super::targets::instructions;

/// Size of the picture, in pixels.
const SIZE: (u32, u32) = (1200, 860);
/// Height of the line below the panels.
const FOOTER: u32 = 40;
/// Share of the axis above the highest bar that stays free, for the legend.
const HEADROOM: f64 = 1.45;
/// The licence, as the second line of the file. In two pieces, or checkers take it for this file's.
const LICENSE: &str = concat!("<!-- SPD", "X-License-Identifier: GPL-2.0 -->");
const FONT: &str = "sans-serif";

/// A driver in the chart: name, colour (also told apart by those who see few), and its instructions.
struct Series {
    name: &'static str,
    colour: RGBColor,
    values: fn(&Results, Flushing, Operation, u32) -> Option<f64>,
}

fn own(results: &Results, flushing: Flushing, operation: Operation, pages: u32) -> Option<f64> {
    instructions(results, flushing, operation, pages).map(|(own, _)| own)
}

fn c_driver(results: &Results, flushing: Flushing, operation: Operation, pages: u32) -> Option<f64> {
    let (_, peer) = instructions(results, flushing, operation, pages)?;
    Some(ratio(flushing, operation, pages)? * peer)
}

fn intel(results: &Results, flushing: Flushing, operation: Operation, pages: u32) -> Option<f64> {
    results.value(flushing.peer(), &metric(operation, pages))
}

fn virtio(results: &Results, flushing: Flushing, operation: Operation, pages: u32) -> Option<f64> {
    results.value(&format!("virtio-{}", flushing.name()), &metric(operation, pages))
}

fn virtio_rust(results: &Results, flushing: Flushing, operation: Operation, pages: u32) -> Option<f64> {
    results.value(&format!("virtio-rust-{}", flushing.name()), &metric(operation, pages))
}

fn none(results: &Results, _: Flushing, operation: Operation, pages: u32) -> Option<f64> {
    results.value("none", &metric(operation, pages))
}

fn metric(operation: Operation, pages: u32) -> String {
    format!("ktime/{pages}p/{}", operation.name())
}

const SERIES: [Series; 6] = [
    Series { name: "this driver", colour: RGBColor(0, 114, 178), values: own },
    Series { name: "C driver (by its ratio)", colour: RGBColor(86, 180, 233), values: c_driver },
    Series { name: "intel-iommu", colour: RGBColor(213, 94, 0), values: intel },
    Series { name: "virtio-iommu", colour: RGBColor(240, 228, 66), values: virtio },
    Series { name: "virtio-iommu in Rust", colour: RGBColor(0, 158, 115), values: virtio_rust },
    Series { name: "no IOMMU", colour: RGBColor(120, 120, 120), values: none },
];

/// One panel: an operation, all sizes and drivers.
fn panel<DB: DrawingBackend>(
    area: &DrawingArea<DB, plotters::coord::Shift>,
    results: &Results,
    flushing: Flushing,
    operation: Operation,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let value = |series: &Series, pages| (series.values)(results, flushing, operation, pages);
    let all = SERIES.iter().flat_map(|series| PAGES.iter().filter_map(move |pages| value(series, *pages)));
    let top = all.fold(1.0, f64::max) * HEADROOM;
    let share = match (flushing, operation) {
        (Flushing::Strict, Operation::Unmap) => " (the guest's share)",
        _ => "",
    };
    // Segments are counted from the first index to the last one.
    let groups = 0..PAGES.len() - 1;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{} {}{share}", flushing.name(), operation.name()), (FONT, 18))
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(groups.into_segmented(), 0.0..top)?;
    let label = |group: &SegmentValue<usize>| match group {
        SegmentValue::CenterOf(index) => PAGES.get(*index).map_or_else(String::new, u32::to_string),
        SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("pages of 4 KiB")
        .y_desc("instructions")
        .x_label_formatter(&label)
        .y_label_formatter(&|value| format!("{value:.0}"))
        .draw()?;
    // Pixels, since the axis has groups and no places inside them.
    let plane = chart.plotting_area().strip_coord_spec();
    let (width, height) = plane.dim_in_pixel();
    let pixels = |number: f64| number.round() as i32;
    let group = f64::from(width) / PAGES.len() as f64;
    let bar = group * 0.8 / SERIES.len() as f64;
    for (place, series) in SERIES.iter().enumerate() {
        for (index, pages) in PAGES.iter().enumerate() {
            let Some(value) = value(series, *pages) else { continue };
            let left = group * (index as f64 + 0.1) + bar * place as f64;
            let upper = f64::from(height) * (1.0 - value / top);
            let corners = [(pixels(left), pixels(upper)), (pixels(left + bar) - 1, height as i32)];
            plane.draw(&Rectangle::new(corners, series.colour.filled()))?;
        }
        let (x, y) = (12 + 190 * (place as i32 % 3), 6 + 18 * (place as i32 / 3));
        plane.draw(&Rectangle::new([(x, y), (x + 11, y + 11)], series.colour.filled()))?;
        plane.draw(&Text::new(series.name, (x + 17, y), (FONT, 13)))?;
    }
    Ok(())
}

fn draw(results: &Results, text: &mut String) -> Result<()> {
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    let failed = |error| anyhow!("drawing: {error}");
    root.fill(&WHITE).map_err(failed)?;
    let (upper, lower) = root.split_vertically(SIZE.1 - FOOTER);
    let kinds = Flushing::ALL.iter().flat_map(|f| Operation::ALL.iter().map(move |o| (*f, *o)));
    for (area, (flushing, operation)) in upper.split_evenly((2, 2)).iter().zip(kinds) {
        panel(area, results, flushing, operation).map_err(failed)?;
    }
    let about = &results.environment;
    let footer = format!(
        "Linux {}, configuration {}, {}, QEMU {} -cpu {} -icount; made by: {COMMAND}",
        about.kernel, about.configuration, about.clang, about.qemu, about.cpu
    );
    lower.draw(&Text::new(footer, (16, 10), (FONT, 13))).map_err(failed)?;
    root.present().map_err(failed)
}

/// The chart as SVG.
///
/// # Errors
/// When it cannot be drawn.
pub fn svg(results: &Results) -> Result<String> {
    let mut text = String::new();
    draw(results, &mut text)?;
    let (head, body) = text.split_once('\n').context("the chart is one line")?;
    Ok(format!("{head}\n{LICENSE}\n{}\n", body.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::super::results::sample;
    use super::*;

    fn results() -> Results {
        let lines = |value: u32| -> String {
            let line = |pages: &u32| {
                format!(
                    "ktime/{pages}p/map {value} instructions\nktime/{pages}p/unmap {value} instructions\n\
                    ktime/{pages}p/unmap-hypervisor 10 instructions\n"
                )
            };
            PAGES.iter().map(line).collect()
        };
        sample(&[
            ("hv-strict", &lines(1000)),
            ("hv-deferred", &lines(1010)),
            ("intel-strict", &lines(2000)),
            ("intel-deferred", &lines(2010)),
            ("virtio-strict", &lines(3000)),
            ("virtio-rust-strict", &lines(2900)),
            ("none", &lines(50)),
        ])
    }

    fn count(text: &str, colour: RGBColor) -> usize {
        let fill = format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2);
        let document = roxmltree::Document::parse(text).unwrap();
        document.descendants().filter(|node| node.attribute("fill") == Some(fill.as_str())).count()
    }

    #[test]
    fn the_chart_is_svg_with_a_bar_for_each_figure() {
        let text = svg(&results()).unwrap();
        let document = roxmltree::Document::parse(&text).unwrap();
        assert_eq!(document.root_element().tag_name().name(), "svg");
        assert!(text.lines().nth(1).unwrap().contains("SPDX"));
        // In each of four panels a bar for each size, and one in the legend.
        let full = 4 * (PAGES.len() + 1);
        let half = full - 2 * PAGES.len();
        for (series, bars) in SERIES.iter().zip([full, full, full, half, half, full]) {
            assert_eq!(count(&text, series.colour), bars, "{}", series.name);
        }
    }

    #[test]
    fn the_same_results_make_the_same_chart() {
        assert_eq!(svg(&results()).unwrap(), svg(&results()).unwrap());
    }

    #[test]
    fn nothing_measured_is_an_empty_chart() {
        let text = svg(&sample(&[])).unwrap();
        assert_eq!(count(&text, SERIES[0].colour), 4);
    }
}
