//! What a plugin says when it can't go on.

/// Why a plugin could not do its work, and with it what the host does next.
///
/// ```
/// use relevo_plugin::Error;
/// let why = Error::poison("a task without a state");
/// assert_eq!(why.to_string(), "poison: a task without a state");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The configuration can't be used: the plugin doesn't start.
    Config(String),
    /// This event can't be handled: it becomes a dead letter, and the others go on.
    Poison(String),
    /// The batch may succeed if the host tries it again.
    Transient(String),
    /// The plugin can't go on at all.
    Fatal(String),
}

impl Error {
    /// The configuration can't be used.
    ///
    /// ```
    /// use relevo_plugin::Error;
    /// assert_eq!(Error::config("why").to_string(), "config: why");
    /// ```
    pub fn config(why: impl Into<String>) -> Self {
        Self::Config(why.into())
    }

    /// This event can't be handled.
    ///
    /// ```
    /// use relevo_plugin::Error;
    /// assert_eq!(Error::poison("why").to_string(), "poison: why");
    /// ```
    pub fn poison(why: impl Into<String>) -> Self {
        Self::Poison(why.into())
    }

    /// Try again.
    ///
    /// ```
    /// use relevo_plugin::Error;
    /// assert_eq!(Error::transient("why").to_string(), "transient: why");
    /// ```
    pub fn transient(why: impl Into<String>) -> Self {
        Self::Transient(why.into())
    }

    /// The plugin can't go on.
    ///
    /// ```
    /// use relevo_plugin::Error;
    /// assert_eq!(Error::fatal("why").to_string(), "fatal: why");
    /// ```
    pub fn fatal(why: impl Into<String>) -> Self {
        Self::Fatal(why.into())
    }

    /// As it crosses the boundary: poison names its event.
    pub(crate) fn at(self, event: u32) -> crate::types::Error {
        match self {
            Self::Config(why) => crate::types::Error::Config(why),
            Self::Poison(why) => crate::types::Error::Poison((event, why)),
            Self::Transient(why) => crate::types::Error::Transient(why),
            Self::Fatal(why) => crate::types::Error::Fatal(why),
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, why) = match self {
            Self::Config(why) => ("config", why),
            Self::Poison(why) => ("poison", why),
            Self::Transient(why) => ("transient", why),
            Self::Fatal(why) => ("fatal", why),
        };
        write!(f, "{name}: {why}")
    }
}

impl std::error::Error for Error {}

/// What can't be read or written as JSON is this event's fault.
impl From<serde_json::Error> for Error {
    fn from(why: serde_json::Error) -> Self {
        Self::Poison(why.to_string())
    }
}
