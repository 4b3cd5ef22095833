//! One file, taken apart into keys with the line each stands on.

use std::path::Path;

use toml::Value;
use toml::de::{DeTable, DeValue};

use crate::schema::{self, Key};
use crate::{Error, value};

/// A checked assignment of a file.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) key: &'static Key,
    pub(crate) value: Value,
    /// 1-based.
    pub(crate) line: usize,
}

/// All assignments of the file at `path` whose content is `text`.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Vec<Assignment>, Error> {
    let place = Place { path, text };
    let table = DeTable::parse(text).map_err(|error| place.syntax(&error))?;
    // The same text once more as plain values: they carry no lines.
    let values: toml::Table = text.parse().map_err(|error| place.syntax(&error))?;
    let mut assignments = Vec::new();
    collect(&place, "", table.get_ref(), &values, &mut assignments)?;
    Ok(assignments)
}

struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

fn collect(
    place: &Place<'_>,
    prefix: &str,
    table: &DeTable<'_>,
    values: &toml::Table,
    out: &mut Vec<Assignment>,
) -> Result<(), Error> {
    for (name, spanned) in table {
        let path = format!("{prefix}{}", name.get_ref());
        let line = place.line(name.span().start);
        let Some(value) = values.get(name.get_ref().as_ref()) else {
            continue;
        };
        match (spanned.get_ref(), value) {
            (DeValue::Table(inner), Value::Table(values)) if schema::is_table(&path) => {
                collect(place, &format!("{path}."), inner, values, out)?;
            }
            _ => out.push(place.assignment(path, value.clone(), line)?),
        }
    }
    Ok(())
}

impl Place<'_> {
    fn assignment(&self, path: String, value: Value, line: usize) -> Result<Assignment, Error> {
        let Some(key) = schema::find(&path) else {
            return Err(self.unknown(path, line));
        };
        value::check(key.kind, &value).map_err(|misfit| Error::BadValue {
            path: self.path.to_owned(),
            line,
            key: path,
            wanted: misfit.wanted,
            got: misfit.got,
        })?;
        Ok(Assignment { key, value, line })
    }

    fn unknown(&self, key: String, line: usize) -> Error {
        let nearest = schema::nearest(&key);
        Error::UnknownKey {
            path: self.path.to_owned(),
            line,
            key,
            nearest,
        }
    }

    fn syntax(&self, error: &toml::de::Error) -> Error {
        Error::Syntax {
            path: self.path.to_owned(),
            line: self.line(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        }
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refuse(text: &str) -> String {
        parse(Path::new("/etc/x.toml"), text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_typo_is_refused_with_its_line_and_the_nearest_key() {
        assert_eq!(
            refuse("driver = \"qemu\"\n\n[guest]\nkernal = \"/k\"\n"),
            "/etc/x.toml:4: unknown key \"guest.kernal\"; did you mean \"guest.kernel\"?"
        );
        assert_eq!(
            refuse("zzz = 1"),
            "/etc/x.toml:1: unknown key \"zzz\"; `kata-mshv config show` lists all keys"
        );
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_its_bounds() {
        assert_eq!(
            refuse("guest.default_vcpus = 0"),
            "/etc/x.toml:1: guest.default_vcpus must be a whole number from 1 to 64, not 0"
        );
    }

    #[test]
    fn broken_toml_is_refused_with_its_line() {
        assert!(refuse("driver = \"qemu\"\n[guest\n").starts_with("/etc/x.toml:2: not valid TOML"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z.\\[\\]=\"\\n #0-9äß_-]{0,80}") {
            let _ = parse(Path::new("/x"), &text);
        }
    }
}
