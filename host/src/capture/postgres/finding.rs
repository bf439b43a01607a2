//! What an operator should know of a source before and while it runs: what is so, who mends it, and by which
//! statements.

/// Something that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub weight: Weight,
    /// What is so, and what comes of it.
    pub what: String,
    pub mend: Option<Mend>,
}

/// What mends a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mend {
    /// Who may run the statements, like `a superuser`.
    pub by: &'static str,
    /// Each is a command of its own (`psql -c`): some, like ALTER SYSTEM, refuse to share a transaction.
    pub statements: Vec<String>,
    /// What is to be done after them, in words.
    pub then: Option<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It works, but not as well as it could.
    Advice,
    /// A table can't be watched, or not with all that its events should have.
    Table,
    /// Nothing can be captured.
    Blocks,
}

pub(super) const SUPERUSER: &str = "a superuser";
pub(super) const TABLE_OWNER: &str = "the table's owner or a superuser";
pub(super) const PUBLICATION_OWNER: &str = "the publication's owner or a superuser";

impl Mend {
    pub(super) fn by(by: &'static str, statements: impl IntoIterator<Item = String>) -> Self {
        Self { by, statements: statements.into_iter().collect(), then: None }
    }

    pub(super) fn words(words: impl Into<String>) -> Self {
        Self { by: "", statements: Vec::new(), then: Some(words.into()) }
    }

    pub(super) fn then(self, then: &str) -> Self {
        Self { then: Some(then.to_owned()), ..self }
    }
}

impl std::fmt::Display for Mend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.statements.is_empty() {
            write!(f, "as {} run: {}", self.by, self.statements.join(" and then: "))?;
        }
        match &self.then {
            Some(then) if self.statements.is_empty() => f.write_str(then),
            Some(then) => write!(f, " then {then}"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        match &self.mend {
            Some(mend) => write!(f, "; {mend}"),
            None => Ok(()),
        }
    }
}
