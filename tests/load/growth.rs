//! How cost grows with a size: the exponent of a power law, fitted on logarithms, or the worst ratio over the range.

use serde_json::{Value, json};

/// Size and cost.
pub(crate) type Point = (f64, f64);

/// The exponent of the power law that fits best; 1 is linear.
pub(crate) fn exponent(points: &[Point]) -> f64 {
    let logs: Vec<Point> = points.iter().map(|(size, cost)| (size.ln(), cost.max(f64::MIN_POSITIVE).ln())).collect();
    let count = logs.len() as f64;
    let mean = |of: fn(&Point) -> f64| logs.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = logs.iter().map(|(a, b)| (a - x) * (b - y)).sum();
    let variance: f64 = logs.iter().map(|(a, _)| (a - x).powi(2)).sum();
    covariance / variance
}

/// The greatest cost over the least.
pub(crate) fn worst(points: &[Point]) -> f64 {
    let costs = || points.iter().map(|(_, cost)| *cost);
    costs().fold(0.0, f64::max) / costs().fold(f64::INFINITY, f64::min)
}

/// One entry of the report.
pub(crate) fn entry(variable: &str, quantity: &str, points: &[Point]) -> Value {
    let sizes = || points.iter().map(|(size, _)| *size);
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    json!({
        "variable": variable, "quantity": quantity, "from": sizes().fold(f64::INFINITY, f64::min), "to": sizes().fold(0.0, f64::max),
        "exponent": rounded(exponent(points)), "worst_ratio": rounded(worst(points)),
        "points": points.iter().map(|(size, cost)| json!([size, rounded(*cost)])).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_doubles_with_its_size_is_linear_and_what_stays_is_flat() {
        let linear = [(10.0, 3.0), (100.0, 30.0), (1000.0, 300.0)];
        assert!((exponent(&linear) - 1.0).abs() < 1e-9);
        let flat = [(10.0, 4.0), (1000.0, 5.0)];
        assert!(exponent(&flat).abs() < 0.1);
        assert_eq!(worst(&flat), 1.25);
    }
}
