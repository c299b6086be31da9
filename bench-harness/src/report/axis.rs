//! One axis of a chart: where a value stands, and which values are written beside it.

/// How values are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Equal steps.
    Linear,
    /// Equal factors.
    Log,
}

/// A range of values on a range of pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis that shows all of these values with a little air around them.
    pub(super) fn fit(scale: Scale, values: &[f64], from: f64, to: f64) -> Self {
        let usable = |value: &&f64| value.is_finite() && (scale == Scale::Linear || **value > 0.0);
        let values = values.iter().filter(usable);
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
        let (low, high) = if low <= high { (low, high) } else { (1.0, 2.0) };
        let (low, high) = match scale {
            Scale::Log => (low / 1.15, high * 1.15),
            Scale::Linear => {
                let air = ((high - low) * 0.08).max(high.abs() * 0.02).max(1e-9);
                (low - air, high + air)
            }
        };
        Self {
            scale,
            low,
            high,
            from,
            to,
        }
    }

    /// The pixel of a value; values outside are moved to the edge.
    pub(super) fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round values on the axis, at least two where there are any.
    pub(super) fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => self.linear_ticks(),
            Scale::Log => self.log_ticks(),
        }
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 5.0;
        let decade = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
        let step = steps
            .into_iter()
            .find(|&step| step >= rough)
            .unwrap_or(decade * 10.0);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|number| number as f64 * step).collect()
    }

    fn log_ticks(&self) -> Vec<f64> {
        // A wide range has a tick per decade, a narrow one more.
        let steps: &[f64] = match (self.high / self.low).log10() {
            decades if decades > 4.0 => &[1.0],
            decades if decades > 0.7 => &[1.0, 2.0, 5.0],
            _ => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        };
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        let all = (first..=last)
            .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
        all.filter(|tick| (self.low..=self.high).contains(tick))
            .collect()
    }
}

/// A value as it is written on an axis.
pub(super) fn tick_text(value: f64) -> String {
    let thousands = [(1e6, "M"), (1e3, "k")];
    for (unit, letter) in thousands {
        if value >= unit {
            return format!("{}{letter}", trimmed(value / unit));
        }
    }
    trimmed(value)
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_in_order_and_inside() {
        for scale in [Scale::Linear, Scale::Log] {
            let axis = Axis::fit(scale, &[1.0, 10.0, 1000.0], 300.0, 20.0);
            let places = [1.0, 10.0, 1000.0].map(|value| axis.place(value));
            assert!(places[0] > places[1] && places[1] > places[2], "{places:?}");
            assert!(places.iter().all(|place| (20.0..=300.0).contains(place)));
            assert_eq!(axis.place(1e12), 20.0);
        }
    }

    #[test]
    fn every_axis_has_a_few_round_ticks() {
        for values in [
            [1.0, 1024.0],
            [62.0, 81.0],
            [0.9, 1.2],
            [3.0, 30_000.0],
            [5.0, 5.0],
        ] {
            for scale in [Scale::Linear, Scale::Log] {
                let ticks = Axis::fit(scale, &values, 0.0, 100.0).ticks();
                assert!(
                    (1..=14).contains(&ticks.len()),
                    "{values:?} {scale:?}: {ticks:?}"
                );
            }
        }
    }

    #[test]
    fn no_values_make_no_trouble() {
        let axis = Axis::fit(Scale::Log, &[f64::NAN, 0.0], 0.0, 100.0);
        assert!(axis.place(1.0).is_finite());
    }

    #[test]
    fn ticks_are_written_short() {
        let texts = [0.5, 1.0, 64.0, 1024.0, 20_000.0, 2_500_000.0].map(tick_text);
        assert_eq!(texts, ["0.5", "1", "64", "1.02k", "20k", "2.5M"]);
    }
}
