//! Takes a CREATE INDEX apart: no pragma tells the expressions and the WHERE of an index.

/// What stands in a CREATE INDEX.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Each term without its ASC or DESC.
    pub terms: Vec<String>,
    pub only: Option<String>,
}

/// Reads `CREATE UNIQUE INDEX i ON t(term, …) [WHERE …]`; none if it can't be understood.
pub(crate) fn parse(sql: &str) -> Option<Parts> {
    let pieces = pieces(sql)?;
    let open = pieces.iter().position(|p| p.text == "(")?;
    let mut depth = 0_usize;
    let mut terms = Vec::new();
    let mut from = pieces.get(open)?.end;
    let mut close = None;
    for (place, piece) in pieces.iter().enumerate().skip(open) {
        match piece.text {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        let ends = depth == 0 || (depth == 1 && piece.text == ",");
        if ends {
            terms.push(without_direction(&sql[from..piece.start]));
            from = piece.end;
        }
        if depth == 0 {
            close = Some(place);
            break;
        }
    }
    let rest = pieces.get(close? + 1);
    let only = match rest {
        None => None,
        Some(piece) if piece.text.eq_ignore_ascii_case("where") => Some(sql[piece.end..].trim().to_owned()),
        Some(_) => return None,
    };
    Some(Parts { terms, only })
}

fn without_direction(term: &str) -> String {
    let term = term.trim();
    for direction in ["asc", "desc"] {
        let Some(at) = term.len().checked_sub(direction.len()) else { continue };
        let (Some(head), Some(tail)) = (term.get(..at), term.get(at..)) else { continue };
        if tail.eq_ignore_ascii_case(direction) && head.ends_with(|c: char| c.is_whitespace() || c == ')') {
            return head.trim_end().to_owned();
        }
    }
    term.to_owned()
}

/// A word, a quoted text or a single sign.
pub(super) struct Piece<'a> {
    pub text: &'a str,
    start: usize,
    end: usize,
}

/// Cuts SQL into pieces, leaving out white space and comments; none if a quote or comment has no end.
pub(super) fn pieces(sql: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(c) = sql[at..].chars().next() {
        let rest = &sql[at..];
        let start = at;
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        } else if rest.starts_with("--") {
            at += rest.find('\n').map_or(rest.len(), |end| end + 1);
            continue;
        } else if rest.starts_with("/*") {
            at += rest.find("*/")? + 2;
            continue;
        } else if matches!(c, '\'' | '"' | '`') {
            at += 1;
            loop {
                at += sql[at..].find(c)? + 1;
                // A doubled quote is one within the text.
                if !sql[at..].starts_with(c) {
                    break;
                }
                at += 1;
            }
        } else if c == '[' {
            at += rest.find(']')? + 1;
        } else if c.is_alphanumeric() || c == '_' {
            at += rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
        } else {
            at += c.len_utf8();
        }
        pieces.push(Piece { text: &sql[start..at], start, end: at });
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use super::{Parts, parse};

    fn parts(terms: &[&str], only: Option<&str>) -> Parts {
        Parts { terms: terms.iter().map(|&t| t.to_owned()).collect(), only: only.map(str::to_owned) }
    }

    #[test]
    fn an_index_is_taken_apart() {
        for (sql, expected) in [
            ("CREATE UNIQUE INDEX i ON t(a, b DESC)", parts(&["a", "b"], None)),
            ("CREATE UNIQUE INDEX \"i(\" ON [t(]( lower(a) asc )", parts(&["lower(a)"], None)),
            (
                "CREATE UNIQUE INDEX i ON t(substr(a, 1, 2), b) WHERE b > ')'",
                parts(&["substr(a, 1, 2)", "b"], Some("b > ')'")),
            ),
            (
                "CREATE UNIQUE INDEX i ON t /* ( */ (a || 'it''s (', \"de\"\"sc\")",
                parts(&["a || 'it''s ('", "\"de\"\"sc\""], None),
            ),
            (
                "CREATE UNIQUE INDEX i ON t(a COLLATE NOCASE DESC) -- (\nWHERE a IS NOT NULL",
                parts(&["a COLLATE NOCASE"], Some("a IS NOT NULL")),
            ),
        ] {
            assert_eq!(parse(sql), Some(expected), "{sql}");
        }
    }

    #[test]
    fn what_is_no_index_is_nothing() {
        for sql in ["", "CREATE UNIQUE INDEX i ON t", "CREATE UNIQUE INDEX i ON t(a", "CREATE UNIQUE INDEX i ON t('a)"]
        {
            assert_eq!(parse(sql), None, "{sql}");
        }
    }
}
