//! Why a service did not start.

use std::error::Error;
use std::fmt;

/// Any error, owned.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// Why a service did not start: a message that says what to do about it, and the error behind it.
///
/// Like `anyhow::Error` it takes any error by `?` and therefore is not itself a [`std::error::Error`].
pub struct StartError {
    message: Option<String>,
    source: Option<BoxError>,
    misconfigured: bool,
}

impl StartError {
    /// A failure that needs no further error to be understood.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), source: None, misconfigured: false }
    }

    /// A failure with its cause; the message says what was tried and which setting leads elsewhere.
    pub fn because(message: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self { message: Some(message.into()), source: Some(source.into()), misconfigured: false }
    }

    /// A setting that can only be judged while starting; the process exits with 64 as for every bad configuration.
    pub fn misconfigured(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), source: None, misconfigured: true }
    }

    /// True if the configuration is to blame.
    pub fn is_misconfigured(&self) -> bool {
        self.misconfigured
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for StartError {
    fn from(error: E) -> Self {
        Self { message: None, source: Some(Box::new(error)), misconfigured: false }
    }
}

impl From<StartError> for BoxError {
    fn from(error: StartError) -> Self {
        error.to_string().into()
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.message, &self.source) {
            (Some(message), Some(source)) => write!(f, "{message}: {}", chain(source.as_ref())),
            (Some(message), None) => f.write_str(message),
            (None, Some(source)) => f.write_str(&chain(source.as_ref())),
            (None, None) => f.write_str("not started"),
        }
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An error with all its sources on one line; a source that its parent already quotes is not repeated.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let words = source.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_start_error_names_every_cause_once() {
        let error = StartError::because("cannot listen on http.listen", Outer(std::io::Error::other("port in use")));
        assert_eq!(error.to_string(), "cannot listen on http.listen: outer: port in use");
        assert!(!error.is_misconfigured());
    }

    #[test]
    fn any_error_becomes_a_start_error_by_question_mark() {
        fn start() -> Result<(), StartError> {
            Err(std::io::Error::other("no route"))?;
            Ok(())
        }
        assert_eq!(start().unwrap_err().to_string(), "no route");
    }
}
