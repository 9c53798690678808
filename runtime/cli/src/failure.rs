//! Why a command did not do what was asked, and the exit code that says whose fault it was.

/// The request failed or is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The device could not do it.
    #[error("{0}")]
    Failed(String),
    /// The request makes no sense as it is.
    #[error("{0}")]
    Usage(String),
    /// All that is to say has been said.
    #[error("exit code {0}")]
    Silent(u8),
    /// Standard output is gone.
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
}

impl Failure {
    /// 1: it failed, 2: the request is wrong.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Silent(code) => *code,
            // The reader of a pipe has seen enough.
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => 1,
        }
    }
}
