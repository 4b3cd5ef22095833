//! Amounts as Kubernetes writes them: `500m`, `1.5`, `128Mi`, `1e3`.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

const NANO: i128 = 1_000_000_000;
/// More digits than any amount needs; keeps the arithmetic in range.
const DIGITS: usize = 18;

/// An amount that is not negative, exact to a billionth; finer ones are rounded
/// up, as Kubernetes does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    nanos: i128,
}

impl Quantity {
    /// In whole units, rounded up.
    #[must_use]
    pub fn value(self) -> i64 {
        self.ceil(NANO)
    }

    /// In thousandths, rounded up.
    #[must_use]
    pub fn milli(self) -> i64 {
        self.ceil(NANO / 1000)
    }

    /// How often `divisor` goes into the amount, rounded up; None for zero.
    #[must_use]
    pub fn divided_by(self, divisor: Self) -> Option<i64> {
        (divisor.nanos > 0).then(|| self.ceil(divisor.nanos))
    }

    /// An amount of whole units.
    #[must_use]
    pub fn whole(units: u64) -> Self {
        Self {
            nanos: i128::from(units) * NANO,
        }
    }

    fn ceil(self, unit: i128) -> i64 {
        let units = (self.nanos + unit - 1) / unit;
        i64::try_from(units).unwrap_or(i64::MAX)
    }
}

impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_add(other.nanos),
        }
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

/// The text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a quantity; write it as 500m, 1.5, 128Mi or 1G")]
pub struct NotAQuantity(String);

impl FromStr for Quantity {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        parse(text).ok_or_else(|| NotAQuantity(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Quantity> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || whole.len() > DIGITS || fraction.len() > DIGITS {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (up, down) = scale(suffix)?;
    let down = 10i128
        .checked_pow(u32::try_from(fraction.len()).ok()?)?
        .checked_mul(down)?;
    let nanos = digits.checked_mul(up)?;
    // Both are positive, so this rounds up.
    Some(Quantity {
        nanos: nanos.checked_add(down - 1)? / down,
    })
}

/// By how many billionths a suffix multiplies, and what it divides by.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let up = match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => NANO / 1000,
        "" => NANO,
        "k" => 1_000 * NANO,
        "M" => 1_000_000 * NANO,
        "G" => NANO * NANO,
        "T" => 1_000 * NANO * NANO,
        "P" => 1_000_000 * NANO * NANO,
        "E" => NANO * NANO * NANO,
        "Ki" => NANO << 10,
        "Mi" => NANO << 20,
        "Gi" => NANO << 30,
        "Ti" => NANO << 40,
        "Pi" => NANO << 50,
        "Ei" => NANO << 60,
        _ => return exponent(suffix),
    };
    Some((up, 1))
}

fn exponent(suffix: &str) -> Option<(i128, i128)> {
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10i128.checked_pow(exponent.unsigned_abs())?;
    match exponent < 0 {
        true => Some((NANO, power)),
        false => Some((NANO.checked_mul(power)?, 1)),
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

/// YAML writers leave the quotes off: `cpu: 2`, `cpu: 0.5`.
struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = Quantity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity such as 500m or 128Mi")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
        Ok(Quantity::whole(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Quantity, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn suffixes_mean_what_kubernetes_says() {
        for (text, value, milli) in [
            ("0", 0, 0),
            ("250m", 1, 250),
            ("1500m", 2, 1500),
            ("0.5", 1, 500),
            (".5", 1, 500),
            ("2", 2, 2000),
            ("+2.", 2, 2000),
            ("1k", 1000, 1_000_000),
            ("1Ki", 1024, 1_024_000),
            ("512Mi", 536_870_912, 536_870_912_000),
            ("1.5Gi", 1_610_612_736, 1_610_612_736_000),
            ("1e3", 1000, 1_000_000),
            ("15E-1", 2, 1500),
            ("1n", 1, 1),
        ] {
            assert_eq!(
                (quantity(text).value(), quantity(text).milli()),
                (value, milli),
                "{text}"
            );
        }
    }

    #[test]
    fn the_largest_suffix_saturates_instead_of_overflowing() {
        assert_eq!(quantity("7E").value(), 7_000_000_000_000_000_000);
        assert_eq!(quantity("900Ei").value(), i64::MAX);
        assert!("999999999999999999Ei".parse::<Quantity>().is_err());
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "", "m", "-1", "1 Gi", "1Kib", "1.2.3", "one", "1e", "1e99", ".",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn yaml_numbers_are_quantities() {
        for (yaml, milli) in [("2", 2000), ("0.5", 500), ("\"100m\"", 100)] {
            let quantity: Quantity = serde_yaml::from_str(yaml).unwrap();
            assert_eq!(quantity.milli(), milli, "{yaml}");
        }
        assert!(serde_yaml::from_str::<Quantity>("-1").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_panic(text in "\\PC{0,40}") {
            let _ = text.parse::<Quantity>();
        }

        #[test]
        fn milli_reads_back(milli in 0i64..1_000_000_000) {
            prop_assert_eq!(quantity(&format!("{milli}m")).milli(), milli);
        }
    }
}
