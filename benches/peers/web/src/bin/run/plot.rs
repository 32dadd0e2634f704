//! Plots as SVG: lines over the number of connections, both axes logarithmic.

use std::fmt::Write;

/// The size of a plot.
const SIZE: (f64, f64) = (760.0, 420.0);
/// Where the lines are: left, top, right, bottom.
const FRAME: (f64, f64, f64, f64) = (78.0, 48.0, 570.0, 366.0);

/// One line.
pub struct Line<'a> {
    /// For the legend.
    pub name: &'a str,
    /// A colour of SVG.
    pub colour: &'a str,
    /// The points; both parts are positive.
    pub points: Vec<(f64, f64)>,
}

/// A plot of some lines. `title` says what is up, with its unit.
pub fn plot(title: &str, across: &str, ticks: &[f64], lines: &[Line<'_>]) -> String {
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
    let scale = Scale {
        across: (ticks[0], ticks[ticks.len() - 1]),
        up: around(values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max)),
    };
    let (left, top, right, bottom) = FRAME;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" \
         font-size=\"13\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        SIZE.0, SIZE.1
    );
    text(&mut svg, (left, 26.0), "start", &format!("<tspan font-size=\"16\" font-weight=\"bold\">{title}</tspan>"));
    for &tick in ticks {
        let x = scale.x(tick);
        rule(&mut svg, (x, top), (x, bottom));
        text(&mut svg, (x, bottom + 20.0), "middle", &number(tick));
    }
    for tick in scale.ticks() {
        let y = scale.y(tick);
        rule(&mut svg, (left, y), (right, y));
        text(&mut svg, (left - 8.0, y + 4.5), "end", &number(tick));
    }
    text(&mut svg, ((left + right) / 2.0, bottom + 42.0), "middle", across);
    for line in lines {
        draw(&mut svg, &scale, line);
    }
    legend(&mut svg, &scale, lines);
    svg + "</svg>\n"
}

/// How values become places.
struct Scale {
    /// The first and last value across.
    across: (f64, f64),
    /// The lowest and highest value.
    up: (f64, f64),
}

impl Scale {
    /// Where a value across is.
    fn x(&self, value: f64) -> f64 {
        FRAME.0 + 12.0 + share(value, self.across) * (FRAME.2 - FRAME.0 - 24.0)
    }

    /// Where a value is.
    fn y(&self, value: f64) -> f64 {
        FRAME.3 - share(value, self.up) * (FRAME.3 - FRAME.1)
    }

    /// The values with a line: 1, 2 and 5 in each decade.
    fn ticks(&self) -> Vec<f64> {
        let decades = self.up.0.log10().floor() as i32..=self.up.1.log10().ceil() as i32;
        let ticks = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(decade)));
        ticks.filter(|tick| (self.up.0 * 0.999..=self.up.1 * 1.001).contains(tick)).collect()
    }
}

/// How far `value` is from the first to the last of `range`, in decades.
fn share(value: f64, range: (f64, f64)) -> f64 {
    (value / range.0).ln() / (range.1 / range.0).ln()
}

/// The nearest steps of 1, 2 and 5 below and above.
fn around(low: f64, high: f64) -> (f64, f64) {
    let decade = |value: f64| 10f64.powf(value.log10().floor());
    let below = [5.0, 2.0, 1.0].map(|step| step * decade(low)).into_iter().find(|step| *step <= low);
    let above = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade(high)).into_iter().find(|step| *step >= high);
    (below.unwrap_or(low), above.unwrap_or(high))
}

/// A number for people.
fn number(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{} M", value / 1e6),
        _ if value >= 1e3 => format!("{} {:03}", (value / 1e3) as u64, value as u64 % 1000),
        _ => format!("{}", (value * 1e6).round() / 1e6),
    }
}

/// Writes something.
fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, what: &str) {
    _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{what}</text>");
}

/// A line of the grid.
fn rule(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    _ = writeln!(svg, "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"#ddd\"/>");
}

/// The line itself.
fn draw(svg: &mut String, scale: &Scale, line: &Line<'_>) {
    let places: Vec<_> = line.points.iter().map(|&(x, y)| (scale.x(x), scale.y(y))).collect();
    let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let colour = line.colour;
    _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.2\"/>",
        path.join(" ")
    );
    for (x, y) in places {
        _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.4\" fill=\"{colour}\"/>");
    }
}

/// Names beside the ends of the lines, in their order, far enough apart to be read.
fn legend(svg: &mut String, scale: &Scale, lines: &[Line<'_>]) {
    let end = |line: &Line<'_>| line.points.last().map(|&(x, y)| (scale.x(x), scale.y(y)));
    let mut names: Vec<_> = lines.iter().filter_map(|line| Some((end(line)?, line))).collect();
    names.sort_by(|(a, _), (b, _)| a.1.total_cmp(&b.1));
    let mut places: Vec<f64> = names.iter().map(|((_, y), _)| *y).collect();
    for index in 1..places.len() {
        places[index] = places[index].max(places[index - 1] + 18.0);
    }
    // What was pushed below the frame pushes the others up again.
    let mut floor = FRAME.3;
    for place in places.iter_mut().rev() {
        *place = place.min(floor);
        floor = *place - 18.0;
    }
    for (((x, y), line), place) in names.into_iter().zip(places) {
        let (colour, edge) = (line.colour, FRAME.2 + 20.0);
        _ = writeln!(
            svg,
            "<path d=\"M{:.1} {y:.1}L{:.1} {place:.1}\" stroke=\"{colour}\" stroke-opacity=\"0.5\"/>",
            x + 5.0,
            edge - 4.0
        );
        let name = format!("<tspan fill=\"{colour}\" font-weight=\"bold\">{}</tspan>", line.name);
        text(svg, (edge, place + 4.5), "start", &name);
    }
}
