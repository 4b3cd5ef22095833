//! Whether a value fits its key.

use std::path::Path;

use toml::Value;

use crate::schema::Kind;

/// A value that does not fit: what would, and what was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) wanted: String,
    pub(crate) got: String,
}

/// Checks `value` against `kind`.
pub(crate) fn check(kind: Kind, value: &Value) -> Result<(), Misfit> {
    let fits = match (kind, value) {
        (Kind::Text, Value::String(_)) => true,
        (Kind::AbsolutePath, Value::String(text)) => Path::new(text).is_absolute(),
        (Kind::Program, Value::String(text)) => is_program(text),
        (Kind::Integer { min, max }, Value::Integer(n)) => {
            (i64::from(min)..=i64::from(max)).contains(n)
        }
        (Kind::OneOf(words), Value::String(text)) => words.contains(&text.as_str()),
        (Kind::AnyOf(words), Value::Array(items)) => items
            .iter()
            .all(|item| item.as_str().is_some_and(|text| words.contains(&text))),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(Misfit {
        wanted: wanted(kind),
        got: value.to_string(),
    })
}

/// A path, or a bare name for `PATH`; a relative path would depend on the
/// folder that containerd happens to run in.
fn is_program(text: &str) -> bool {
    Path::new(text).is_absolute() || (!text.is_empty() && !text.contains('/'))
}

fn wanted(kind: Kind) -> String {
    match kind {
        Kind::Text => "text in quotes".to_owned(),
        Kind::AbsolutePath => "an absolute path in quotes".to_owned(),
        Kind::Program => "an absolute path or a program's name in quotes".to_owned(),
        Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
        Kind::OneOf(words) => format!("one of {}", quoted(words)),
        Kind::AnyOf(words) => format!("a list of any of {}", quoted(words)),
    }
}

fn quoted(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("{word:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_their_kind_only() {
        let text = |s: &str| Value::String(s.into());
        let two = Kind::Integer { min: 1, max: 2 };
        assert!(check(two, &Value::Integer(2)).is_ok());
        assert!(check(two, &Value::Integer(3)).is_err());
        assert!(check(two, &Value::Integer(-1)).is_err());
        assert!(check(two, &text("2")).is_err());
        assert!(check(Kind::AbsolutePath, &text("x/y")).is_err());
        assert!(check(Kind::Program, &text("qemu")).is_ok());
        assert!(check(Kind::Program, &text("bin/qemu")).is_err());
        assert!(check(Kind::OneOf(&["a"]), &text("b")).is_err());
        assert!(check(Kind::AnyOf(&["a"]), &Value::Array(vec![text("a")])).is_ok());
        assert!(check(Kind::AnyOf(&["a"]), &Value::Array(vec![Value::Integer(1)])).is_err());
    }

    #[test]
    fn a_misfit_says_what_would_fit() {
        let misfit = check(Kind::Integer { min: 1, max: 64 }, &Value::Integer(900)).unwrap_err();
        assert_eq!(misfit.wanted, "a whole number from 1 to 64");
        assert_eq!(misfit.got, "900");
    }
}
