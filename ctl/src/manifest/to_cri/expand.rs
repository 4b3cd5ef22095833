//! `$(NAME)` in commands, arguments and variables.

/// Replaces each `$(NAME)` by what `lookup` knows. `$$` stands for `$`; a name
/// that is not known, and any other `$`, stay as they are.
pub(super) fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        let (piece, after) = reference(rest, &lookup);
        out.push_str(&piece);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What a `$` followed by `rest` stands for, and what comes after it.
fn reference<'r, 'a>(
    rest: &'r str,
    lookup: &impl Fn(&str) -> Option<&'a str>,
) -> (String, &'r str) {
    if let Some(after) = rest.strip_prefix('$') {
        return ("$".to_owned(), after);
    }
    let named = rest
        .strip_prefix('(')
        .and_then(|inner| inner.split_once(')'));
    match named {
        Some((name, after)) => {
            let known = lookup(name).map(ToOwned::to_owned);
            (known.unwrap_or_else(|| format!("$({name})")), after)
        }
        None => ("$".to_owned(), rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known(name: &str) -> Option<&'static str> {
        match name {
            "A" => Some("1"),
            "EMPTY" => Some(""),
            "NESTED" => Some("$(A)"),
            _ => None,
        }
    }

    #[test]
    fn references_are_replaced_once() {
        for (text, expanded) in [
            ("plain", "plain"),
            ("$(A)-$(A)", "1-1"),
            ("x$(EMPTY)y", "xy"),
            ("$(NESTED)", "$(A)"),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(A", "$(A"),
            ("$A ${A} $", "$A ${A} $"),
            ("é$(A)é", "é1é"),
        ] {
            assert_eq!(expand(text, known), expanded, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_expands_without_panic(text in "[$()A-Zé]{0,30}") {
            let _ = expand(&text, known);
        }
    }
}
