//! Runs a machine: one task owns it, so there is no lock; one loop feeds it, so there is an order.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::addresses;
use super::connect::ConnectOptions;
use super::proxy::{ProxyPolicy, ProxyRules};
use super::resolve::Resolver;
use super::runtime::Runtime;
use super::socket::Socket;
use super::tls::{Tls, TlsOptions};
use super::token::TokenSource;
use crate::core::io::{Machine, NetInput, NetOutput, SocketEnd, SocketId};
use crate::wire::limits::{CLOSE_FLUSH, FACT_QUEUE};

/// How a driver reaches the network.
#[derive(Debug, Clone, Default)]
pub struct DriverOptions {
    /// PEM file with certificate authorities to trust besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether the server is reached through an HTTP proxy.
    pub proxy: ProxyPolicy,
    /// Sent as `Origin` with the upgrade, for API keys that are restricted to origins.
    pub origin: Option<String>,
    /// Where tokens come from, if the machine asks for any.
    pub token: Option<TokenSource>,
}

/// The driver has ended: what is sent to it is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signalling task has ended")]
pub struct Ended;

/// The application's end of a running machine. When the last clone is dropped, the driver closes its sockets and
/// ends; a clone inside the driver's own `on_output` therefore keeps it running until the machine finishes.
#[derive(Debug)]
pub struct Handle<I> {
    inputs: mpsc::UnboundedSender<I>,
    ended: watch::Receiver<bool>,
    gate: Arc<Gate>,
}

impl<I> Clone for Handle<I> {
    fn clone(&self) -> Self {
        Self {
            inputs: self.inputs.clone(),
            ended: self.ended.clone(),
            gate: self.gate.clone(),
        }
    }
}

impl<I> Handle<I> {
    /// Hands an input to the machine. Never blocks. The queue has no limit: its inputs are facts that must not be
    /// lost, and commands whose senders wait for answers, so both are bounded by what exists.
    pub fn send(&self, input: I) -> Result<(), Ended> {
        self.inputs.send(input).map_err(|_| Ended)
    }

    /// Waits until the driver has ended.
    pub async fn closed(&self) {
        // An error means that the other side is gone, which is the same.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Waits on an ordinary thread until the driver has ended. False if it has not after this time.
    pub fn wait_closed(&self, at_most: Duration) -> bool {
        let ended = self.gate.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .gate
            .changed
            .wait_timeout_while(ended, at_most, |ended| !*ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[derive(Debug, Default)]
struct Gate {
    ended: Mutex<bool>,
    changed: Condvar,
}

/// Tells those who wait that the driver has ended, also if it has panicked.
struct Ending {
    ended: watch::Sender<bool>,
    gate: Arc<Gate>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        *self.gate.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.gate.changed.notify_all();
        self.ended.send_replace(true);
    }
}

/// Runs a machine until it is finished and everything it wanted sent has been sent, or until the handle is dropped.
/// `on_output` is called on the I/O thread, in order, and must not block.
pub fn spawn<M: Machine>(
    runtime: &Runtime,
    machine: M,
    options: DriverOptions,
    on_output: impl FnMut(M::Output) + Send + 'static,
) -> Handle<M::Input> {
    let (inputs, commands) = mpsc::unbounded_channel();
    let (ended, watcher) = watch::channel(false);
    let gate = Arc::new(Gate::default());
    let ending = Ending {
        ended,
        gate: gate.clone(),
    };
    let (facts, facts_in) = mpsc::channel(FACT_QUEUE);
    let tls = Tls::new(TlsOptions {
        ca_file: options.ca_file,
    });
    let driver = Driver {
        machine,
        on_output,
        connect: Arc::new(ConnectOptions {
            tls: Arc::new(tls),
            proxy: ProxyRules::new(&options.proxy),
            origin: options.origin,
        }),
        token: options.token,
        resolver: Resolver::default(),
        facts,
        sockets: HashMap::new(),
        socket_tasks: JoinSet::new(),
        helpers: JoinSet::new(),
        token_task: None,
    };
    let share = runtime.clone();
    runtime.spawn(async move {
        driver.run(commands, facts_in).await;
        drop(ending);
        drop(share);
    });
    Handle {
        inputs,
        ended: watcher,
        gate,
    }
}

struct Driver<M: Machine, F> {
    machine: M,
    on_output: F,
    connect: Arc<ConnectOptions>,
    token: Option<TokenSource>,
    resolver: Resolver,
    facts: mpsc::Sender<NetInput>,
    /// Sockets the machine may still use.
    sockets: HashMap<SocketId, Socket>,
    /// All sockets, also those that are closing.
    socket_tasks: JoinSet<()>,
    /// Questions under way; they end with the driver.
    helpers: JoinSet<()>,
    /// The newest question for a token.
    token_task: Option<(SocketId, AbortHandle)>,
}

/// The machine's clock is tokio's, so that tests can stop both.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

impl<M: Machine, F: FnMut(M::Output) + Send + 'static> Driver<M, F> {
    async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<M::Input>,
        mut facts: mpsc::Receiver<NetInput>,
    ) {
        self.helpers.spawn(addresses::watch(self.facts.clone()));
        self.drain();
        while !self.machine.is_finished() {
            let deadline = self.machine.poll_timeout();
            let sleeping = async {
                match deadline {
                    Some(at) => sleep_until(Instant::from_std(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                input = commands.recv() => match input {
                    Some(input) => self.machine.handle_input(now(), input),
                    None => break,
                },
                Some(fact) = facts.recv() => self.fact(fact),
                () = sleeping => self.machine.handle_timeout(now()),
                // Forgets tasks that have ended; there is nothing to do about it.
                Some(_) = self.socket_tasks.join_next() => continue,
                Some(_) = self.helpers.join_next() => continue,
            }
            self.drain();
        }
        self.finish(facts).await;
    }

    fn fact(&mut self, fact: NetInput) {
        if let NetInput::SocketClosed(id, _) = &fact {
            self.sockets.remove(id);
        }
        self.machine.handle_net(now(), fact);
    }

    /// Does everything the machine wants. What fails at once is told to it at once.
    fn drain(&mut self) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                (self.on_output)(output);
            }
            let Some(output) = self.machine.poll_net() else {
                break;
            };
            self.net(output);
        }
    }

    fn net(&mut self, output: NetOutput) {
        match output {
            NetOutput::OpenSocket { id, url } => {
                let (connect, facts) = (self.connect.clone(), self.facts.clone());
                let socket = Socket::open(&mut self.socket_tasks, id, url, connect, facts);
                self.sockets.insert(id, socket);
            }
            NetOutput::SendText(id, text) => {
                let stuck = self.sockets.get(&id).is_some_and(|socket| !socket.send(text));
                if stuck {
                    self.sockets.remove(&id);
                    let detail = "the network takes no more data".to_owned();
                    self.machine
                        .handle_net(now(), NetInput::SocketClosed(id, SocketEnd::Lost { detail }));
                }
            }
            NetOutput::CloseSocket { id, code, reason } => {
                if let Some(mut socket) = self.sockets.remove(&id) {
                    socket.close(code, reason);
                }
            }
            NetOutput::FetchToken(id) => self.fetch_token(id),
            NetOutput::ForgetToken(id) => self.forget_token(|asked| asked == id),
            NetOutput::Resolve { id, host } => {
                let (resolver, facts) = (self.resolver.clone(), self.facts.clone());
                self.helpers.spawn(async move {
                    let addresses = resolver.resolve(&host).await;
                    let _ = facts.send(NetInput::Resolved(id, addresses)).await;
                });
            }
        }
    }

    /// Only the newest question counts.
    fn fetch_token(&mut self, id: SocketId) {
        self.forget_token(|_| true);
        let (source, facts) = (self.token.clone(), self.facts.clone());
        let task = self.helpers.spawn(async move {
            let token = match source {
                Some(source) => source.fetch().await,
                None => Err("no token provider is set".to_owned()),
            };
            let _ = facts.send(NetInput::Token(id, token)).await;
        });
        self.token_task = Some((id, task));
    }

    fn forget_token(&mut self, which: impl Fn(SocketId) -> bool) {
        if let Some((_, task)) = self.token_task.take_if(|(id, _)| which(*id)) {
            task.abort();
        }
    }

    /// Closes what is open and waits for it, within the time that sockets have for that.
    async fn finish(mut self, facts: mpsc::Receiver<NetInput>) {
        drop(facts);
        self.helpers.abort_all();
        self.sockets.clear();
        let all = async { while self.socket_tasks.join_next().await.is_some() {} };
        // A second for the handshake, and the same again for the last words of a server.
        let _ = timeout(2 * CLOSE_FLUSH, all).await;
    }
}
