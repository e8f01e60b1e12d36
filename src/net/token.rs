//! Where tokens come from. Asked before every attempt to connect.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::wire::limits::{TOKEN_COMMAND_MAX, TOKEN_OUTPUT_MAX};
use crate::wire::{Secret, scrub};

/// A token, or why there is none.
pub type TokenResult = Result<Secret<String>, String>;

/// A token that is on its way.
pub type TokenFuture = Pin<Box<dyn Future<Output = TokenResult> + Send>>;

/// A source of tokens.
#[derive(Clone)]
pub enum TokenSource {
    /// Asks the application, on the I/O thread: the function must not block and may keep the reply for later.
    Callback(Arc<dyn Fn(TokenReply) + Send + Sync>),
    /// Asks the application for a future and awaits it on the I/O thread: it must not block. It is dropped when its
    /// result is not wanted any more.
    Future(Arc<dyn Fn() -> TokenFuture + Send + Sync>),
    /// The output of a shell command, without the white space around it.
    Command(String),
    /// Always the same one.
    Static(Secret<String>),
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Commands carry secrets in their arguments often enough.
        f.write_str(match self {
            Self::Callback(_) => "Callback",
            Self::Future(_) => "Future",
            Self::Command(_) => "Command(***)",
            Self::Static(_) => "Static(***)",
        })
    }
}

/// The application's side of one question for a token. Dropping it is a failure.
#[derive(Debug)]
pub struct TokenReply(oneshot::Sender<TokenResult>);

impl TokenReply {
    /// Answers.
    pub fn reply(self, token: TokenResult) {
        // If nobody waits any more, the attempt has been given up.
        let _ = self.0.send(token);
    }
}

impl TokenSource {
    /// One token. Takes as long as it takes, a command at most a minute; dropping the future kills the command.
    pub(super) async fn fetch(&self) -> TokenResult {
        match self {
            Self::Callback(ask) => {
                let (reply, answer) = oneshot::channel();
                ask(TokenReply(reply));
                answer
                    .await
                    .unwrap_or_else(|_| Err("the application gave no answer".to_owned()))
            }
            Self::Future(ask) => {
                // The application's code. Its panic is a failure like others, not the end of this thread.
                AssertUnwindSafe(async { ask().await })
                    .catch_unwind()
                    .await
                    .unwrap_or_else(|_| Err("the token provider has panicked".to_owned()))
            }
            Self::Command(command) => match timeout(TOKEN_COMMAND_MAX, run(command)).await {
                Ok(result) => result,
                Err(_) => Err("the token command did not end in time".to_owned()),
            },
            Self::Static(token) => Ok(token.clone()),
        }
    }
}

#[cfg(unix)]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command);
    shell
}

#[cfg(windows)]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("cmd");
    shell.arg("/C").arg(command);
    shell
}

async fn run(command: &str) -> TokenResult {
    let failed =
        |error: std::io::Error| format!("the token command cannot be run: {}", scrub(&error.to_string()));
    // What the command says about its troubles goes where the application's own words go.
    let mut child = shell(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout
            .take(TOKEN_OUTPUT_MAX + 1)
            .read_to_end(&mut output)
            .await
            .map_err(failed)?;
    }
    if output.len() as u64 > TOKEN_OUTPUT_MAX {
        return Err("the token command printed far more than a token".to_owned());
    }
    let status = child.wait().await.map_err(failed)?;
    if !status.success() {
        return Err(format!(
            "the token command failed ({status}); its messages are on standard error"
        ));
    }
    let token =
        String::from_utf8(output).map_err(|_| "the token command printed something else".to_owned())?;
    match token.trim() {
        "" => Err("the token command printed nothing".to_owned()),
        token => Ok(Secret::new(token.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> TokenResult {
        Ok(Secret::new(text.to_owned()))
    }

    #[tokio::test]
    async fn sources() {
        assert_eq!(
            TokenSource::Static(Secret::new("s".into())).fetch().await,
            token("s")
        );
        let callback = TokenSource::Callback(Arc::new(|reply| reply.reply(Ok(Secret::new("c".into())))));
        assert_eq!(callback.fetch().await, token("c"));
        assert!(TokenSource::Callback(Arc::new(drop)).fetch().await.is_err());
    }

    #[tokio::test]
    async fn futures() {
        let source = TokenSource::Future(Arc::new(|| Box::pin(async { token("f") })));
        assert_eq!(source.fetch().await, token("f"));
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let source = TokenSource::Future(Arc::new(|| panic!("before the future")));
        assert!(source.fetch().await.unwrap_err().contains("panicked"));
        let source = TokenSource::Future(Arc::new(|| Box::pin(async { panic!("inside the future") })));
        assert!(source.fetch().await.unwrap_err().contains("panicked"));
        std::panic::set_hook(hook);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn commands() {
        let fetch = async |command: &str| TokenSource::Command(command.to_owned()).fetch().await;
        assert_eq!(fetch("echo ' eyJ ' ; echo").await, token("eyJ"));
        assert!(fetch("exit 3").await.unwrap_err().contains('3'));
        assert!(fetch("true").await.is_err());
        assert!(
            fetch("yes | head -c 65537")
                .await
                .unwrap_err()
                .contains("far more")
        );
        assert!(!format!("{:?}", TokenSource::Command("curl secret".into())).contains("secret"));
    }
}
