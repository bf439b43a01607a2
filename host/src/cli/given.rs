//! The token that somebody gives to a command: an argument, a file, its input, or the environment.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

/// The variable that has a token where no argument names one; the client in Python reads it, too.
const VARIABLE: &str = "RELEVO_TOKEN";
/// A token is much shorter, in bytes: a wrong file is not read to its end.
const LONGEST: u64 = 64 << 10;

/// Which token is shown to the server.
#[derive(Args)]
pub(super) struct GivenToken {
    /// The token. Everybody on the machine can read it in the list of processes: --token-file and RELEVO_TOKEN are
    /// not seen there. Without any of the three: one made with the secret in the data folder.
    #[arg(long, conflicts_with = "token_file")]
    token: Option<String>,
    /// A file with the token, or - for the standard input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl GivenToken {
    /// The token, if one is given: an argument goes before the environment.
    ///
    /// # Errors
    /// A file that can't be read, or what holds no token.
    pub(super) fn read(&self) -> anyhow::Result<Option<String>> {
        self.or(std::env::var(VARIABLE).ok())
    }

    fn or(&self, variable: Option<String>) -> anyhow::Result<Option<String>> {
        let (token, place) = match (&self.token, &self.token_file, variable) {
            (Some(token), ..) => (token.clone(), "--token".to_owned()),
            (None, Some(file), _) => (read(file)?, format!("--token-file {}", file.display())),
            // One that is set to nothing is as good as none.
            (None, None, Some(token)) if !token.trim().is_empty() => (token, VARIABLE.to_owned()),
            (None, None, _) => return Ok(None),
        };
        let token = token.trim();
        if token.is_empty() || token.contains(|c: char| c.is_whitespace() || c.is_control()) {
            bail!("{place} holds no token; allowed: one, as `relevo token` prints it");
        }
        Ok(Some(token.to_owned()))
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().take(LONGEST).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(LONGEST).read_to_string(&mut text))
    };
    read.with_context(|| format!("--token-file {} can't be read", file.display()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(token: Option<&str>, file: Option<&Path>) -> GivenToken {
        GivenToken { token: token.map(str::to_owned), token_file: file.map(Path::to_owned) }
    }

    #[test]
    fn an_argument_goes_before_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "of.the.file\n").unwrap();
        let variable = || Some("of.the.environment".to_owned());
        let read = |given: GivenToken, variable| given.or(variable).unwrap();
        assert_eq!(read(given(Some("a.b.c"), None), variable()).as_deref(), Some("a.b.c"));
        assert_eq!(read(given(None, Some(&file)), variable()).as_deref(), Some("of.the.file"));
        assert_eq!(read(given(None, None), variable()).as_deref(), Some("of.the.environment"));
        assert_eq!(read(given(None, None), Some(" ".into())), None);
        assert_eq!(read(given(None, None), None), None);
    }

    #[test]
    fn what_holds_no_token_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        for text in ["", "\n", "two words", "two\nlines"] {
            std::fs::write(&file, text).unwrap();
            let error = given(None, Some(&file)).or(None).unwrap_err().to_string();
            assert!(error.contains("holds no token") && error.contains(&file.display().to_string()), "{error}");
        }
        let error = given(None, Some(&folder.path().join("away"))).or(None).unwrap_err().to_string();
        assert!(error.contains("away can't be read"), "{error}");
    }
}
