//! A start as a picture: one bar per span, on one axis of time.

use std::fmt::Write;
use std::time::Duration;

use vmm_api::Span;

const LEFT: u64 = 170;
const WIDTH: u64 = 720;
const ROW: u64 = 24;
const BAR: u64 = 16;
/// Where the first bar is.
const TOP: u64 = 34;

/// The spans under each other, and the floor below them.
pub(crate) fn draw(spans: &[Span], floor: Duration) -> String {
    let floor = Span {
        name: "floor: bare boot".to_owned(),
        begin_us: 0,
        end_us: u64::try_from(floor.as_micros()).unwrap_or(0),
    };
    let rows: Vec<_> = spans.iter().chain([&floor]).collect();
    let end = rows
        .iter()
        .map(|span| span.end_us)
        .max()
        .unwrap_or(0)
        .max(1);
    let count = u64::try_from(rows.len()).unwrap_or(0);
    let (width, height) = (LEFT + WIDTH + 80, TOP + count * ROW + 10);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    axis(&mut svg, end, height);
    for (row, span) in (0..).zip(rows) {
        bar(&mut svg, row, span, end);
    }
    svg.push_str("</svg>\n");
    svg
}

/// A line every 100 ms.
fn axis(svg: &mut String, end: u64, height: u64) {
    for ms in (0..=end / 1000).step_by(100) {
        let x = LEFT + ms * 1000 * WIDTH / end;
        let bottom = height - 6;
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"24\" x2=\"{x}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{x}\" y=\"18\" text-anchor=\"middle\" fill=\"#555\">{ms} ms</text>"
        );
    }
}

fn bar(svg: &mut String, row: u64, span: &Span, end: u64) {
    let y = TOP + row * ROW;
    let x = LEFT + span.begin_us * WIDTH / end;
    let length = span.end_us.saturating_sub(span.begin_us);
    let width = (length * WIDTH / end).max(1);
    let (text, text_y) = (x + width + 6, y + 12);
    let (label, color) = (LEFT - 8, color(&span.name));
    let (name, ms) = (&span.name, length / 1000);
    let _ = writeln!(
        svg,
        "<text x=\"{label}\" y=\"{text_y}\" text-anchor=\"end\">{name}</text>\
         <rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BAR}\" rx=\"2\" fill=\"{color}\"/>\
         <text x=\"{text}\" y=\"{text_y}\" fill=\"#555\">{ms}</text>"
    );
}

/// What the caller sees, what the guest does, what the host does, the floor.
fn color(name: &str) -> &'static str {
    match name {
        "RunPodSandbox" | "CreateContainer" | "StartContainer" | super::START => "#9aa5b1",
        "kernel to agent" | "sandbox in guest" | "container create" | "start" => "#3f8f5f",
        "floor: bare boot" => "#c77d2e",
        _ => "#3b6ea8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_span_has_a_bar_where_it_belongs() {
        let span = |name: &str, begin_us, end_us| Span {
            name: name.into(),
            begin_us,
            end_us,
        };
        let spans = [span("shim", 0, 50_000), span("network", 50_000, 100_000)];
        let svg = draw(&spans, Duration::from_millis(50));
        assert_eq!(svg.matches("rx=").count(), 3);
        assert!(svg.contains("x=\"530\" y=\"58\" width=\"360\""), "{svg}");
    }
}
