//! The life of a connection: attempts, time limits, loss, retry.

use std::time::{Duration, Instant};

use super::RequestError;
use super::{Attempt, Client, ClientEvent, ClientState, ConnectFailure, CredentialSource, Keepalive, Phase};
use crate::core::io::{NetOutput, SocketEnd, SocketId};
use crate::core::pacer::Outbound;
use crate::core::requests::Origin;
use crate::wire::limits::{
    ADDRESS_PROBE, AUTH_REFUSALS_MAX, RETRY_AFTER_MAX, SLOW_FLOOR, STABLE_AFTER, TIME_LIMIT_MAX,
    TOKEN_FAILURES_TOLD, WELCOME_TIMEOUT,
};
use crate::wire::{ClientFrame, CloseCode, Credential, Disposition, Secret, scrub};

impl Client {
    pub(super) fn start_attempt(&mut self, now: Instant) {
        self.last_socket += 1;
        let id = SocketId(self.last_socket);
        match &self.config.credential {
            CredentialSource::ApiKey(key) => {
                let credential = Credential::ApiKey(key.clone());
                self.open_socket(now, id, &credential);
            }
            CredentialSource::TokenProvider => {
                let deadline = now + self.config.token_timeout.min(TIME_LIMIT_MAX);
                self.attempt = Some(Attempt {
                    id,
                    phase: Phase::Token { deadline },
                });
                self.net.push_back(NetOutput::FetchToken(id));
            }
        }
    }

    fn open_socket(&mut self, now: Instant, id: SocketId, credential: &Credential) {
        let url = self.config.endpoint.connect_url(credential);
        self.attempt = Some(Attempt {
            id,
            phase: Phase::Opening {
                deadline: now + WELCOME_TIMEOUT,
            },
        });
        self.net.push_back(NetOutput::OpenSocket { id, url });
    }

    pub(super) fn token_arrived(
        &mut self,
        now: Instant,
        id: SocketId,
        token: Result<Secret<String>, String>,
    ) {
        if !self
            .attempt
            .is_some_and(|attempt| attempt.id == id && matches!(attempt.phase, Phase::Token { .. }))
        {
            return;
        }
        match token {
            Ok(token) if token.expose().is_empty() => self.token_failed(now, "the token is empty"),
            Ok(token) => {
                self.token_failures = 0;
                self.open_socket(now, id, &Credential::Token(token));
            }
            Err(error) => self.token_failed(now, &error),
        }
    }

    fn token_failed(&mut self, now: Instant, error: &str) {
        let detail = scrub(error);
        self.token_failures = self.token_failures.saturating_add(1);
        if self.token_failures >= TOKEN_FAILURES_TOLD {
            self.events.push_back(ClientEvent::TokenProviderError {
                consecutive_failures: self.token_failures,
                error: detail.clone(),
            });
        }
        self.attempt_failed(now, ConnectFailure::Token { detail }, Disposition::Retry);
    }

    pub(super) fn expire_attempt(&mut self, now: Instant) {
        match self.attempt.map(|attempt| attempt.phase) {
            Some(Phase::Token { deadline }) if deadline <= now => {
                self.close_socket(CloseCode::NORMAL, "");
                self.token_failed(now, "it did not answer in time");
            }
            Some(Phase::Opening { deadline }) if deadline <= now => {
                self.close_socket(CloseCode::INACTIVITY, "welcome timeout");
                self.attempt_failed(now, ConnectFailure::WelcomeTimeout, Disposition::Retry);
            }
            _ => {}
        }
    }

    pub(super) fn arm_keepalive(&mut self, now: Instant) {
        self.keepalive = self.config.keepalive().map(|(heartbeat, window)| Keepalive {
            heartbeat: now + heartbeat,
            watchdog: now + window,
        });
    }

    pub(super) fn expire_keepalive(&mut self, now: Instant) {
        let (Some(keepalive), Some((interval, _))) = (&mut self.keepalive, self.config.keepalive()) else {
            return;
        };
        if keepalive.watchdog <= now {
            self.close_socket(CloseCode::INACTIVITY, "inactivity timeout");
            self.lost(now, CloseCode::INACTIVITY, String::new());
        } else if keepalive.heartbeat <= now {
            keepalive.heartbeat = now + interval;
            if let Ok(text) = self.sendable(ClientFrame::Ping) {
                self.pacer.push_control(Outbound { text, request: None });
            }
        }
    }

    /// The connection may have lost the address that it comes from: nobody would ever say so. A healthy one answers.
    pub(super) fn probe(&mut self, now: Instant) {
        if self.live_socket().is_none() {
            return;
        }
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.heartbeat = now;
            keepalive.watchdog = keepalive.watchdog.min(now + ADDRESS_PROBE);
            self.expire_keepalive(now);
        }
    }

    /// Withdraws what the attempt has asked of the network: a token, or a socket.
    pub(super) fn close_socket(&mut self, code: CloseCode, reason: &'static str) {
        let Some(attempt) = self.attempt else { return };
        self.net.push_back(match attempt.has_socket() {
            true => NetOutput::CloseSocket {
                id: attempt.id,
                code: code.0,
                reason,
            },
            false => NetOutput::ForgetToken(attempt.id),
        });
    }

    pub(super) fn socket_ended(&mut self, now: Instant, end: SocketEnd) {
        let live = self.live_socket().is_some();
        match end {
            SocketEnd::Closed { code, reason } => self.lost(now, CloseCode(code), scrub(&reason)),
            _ if live => self.lost(now, CloseCode::ABNORMAL, String::new()),
            SocketEnd::Lost { detail } => {
                let detail = scrub(&detail);
                self.attempt_failed(now, ConnectFailure::Lost { detail }, Disposition::Retry);
            }
            SocketEnd::Refused {
                status,
                retry_after,
                error,
            } => self.refused(now, status, retry_after, error),
            SocketEnd::Unreachable { detail, certificate } => {
                let detail = scrub(&detail);
                // A certificate that was good before may be so again; one that never was needs a person.
                let disposition = match certificate && !self.welcomed {
                    true => Disposition::Terminal,
                    false => Disposition::Retry,
                };
                let failure = match certificate {
                    true => ConnectFailure::CertificateRefused { detail },
                    false => ConnectFailure::Unreachable { detail },
                };
                self.attempt_failed(now, failure, disposition);
            }
        }
    }

    /// The upgrade was answered with an HTTP status.
    fn refused(&mut self, now: Instant, status: u16, retry_after: Option<Duration>, error: Option<String>) {
        if let Some(wait) = retry_after {
            self.backoff.raise_floor(wait.min(RETRY_AFTER_MAX));
        }
        let disposition = match (status, &self.config.credential) {
            (401 | 403, CredentialSource::ApiKey(_)) => Disposition::Terminal,
            // A fresh token may be better. Attempts that fail in other ways in between say nothing about tokens.
            (401 | 403, CredentialSource::TokenProvider) => {
                self.auth_refusals += 1;
                match self.auth_refusals >= AUTH_REFUSALS_MAX {
                    true => Disposition::Terminal,
                    false => Disposition::Refresh,
                }
            }
            (429, _) => Disposition::SlowRetry,
            _ => Disposition::Retry,
        };
        self.attempt_failed(now, ConnectFailure::HttpRefused { status, error }, disposition);
    }

    /// The connection has ended, before or after its welcome.
    pub(super) fn lost(&mut self, now: Instant, code: CloseCode, reason: String) {
        let Some(attempt) = self.attempt else { return };
        let disposition = code.disposition();
        let Phase::Live { since } = attempt.phase else {
            return self.attempt_failed(now, ConnectFailure::Closed { code, reason }, disposition);
        };
        if now.saturating_duration_since(since) >= STABLE_AFTER {
            self.backoff.reset();
        }
        if code == CloseCode::OVER_MESSAGE_RATE {
            self.pacer.slow_down();
        }
        self.drop_connection();
        match self.schedule(now, disposition) {
            Some(delay) => {
                self.events.push_back(ClientEvent::Disconnected {
                    code,
                    reason,
                    will_reconnect: true,
                    delay: Some(delay),
                });
                self.set_state(ClientState::Reconnecting);
            }
            None => self.finish(code, reason),
        }
    }

    fn attempt_failed(&mut self, now: Instant, failure: ConnectFailure, disposition: Disposition) {
        self.drop_connection();
        let retry_in = match self.welcomed || self.config.retry_first_connect {
            true => self.schedule(now, disposition),
            false => None,
        };
        let (code, reason) = match &failure {
            ConnectFailure::Closed { code, reason } => (*code, reason.clone()),
            other => (other.code(), String::new()),
        };
        self.events
            .push_back(ClientEvent::ConnectFailed { failure, retry_in });
        if retry_in.is_none() {
            self.finish(code, reason);
        }
    }

    /// Sets the timer of the next attempt, if there is to be one.
    fn schedule(&mut self, now: Instant, disposition: Disposition) -> Option<Duration> {
        if disposition == Disposition::Terminal || !self.config.reconnect.enabled {
            return None;
        }
        // An announcement that has come to nothing is forgotten.
        if let Some((announced, wait)) = self.going_away.take()
            && now.saturating_duration_since(announced) <= RETRY_AFTER_MAX
        {
            self.backoff.raise_floor(wait);
        }
        if disposition == Disposition::SlowRetry {
            self.backoff.raise_floor(SLOW_FLOOR);
        }
        let delay = self.backoff.next_delay(&mut self.rng)?;
        // A delay beyond what a clock can count is never.
        self.retry_at = Some(now.checked_add(delay)?);
        Some(delay)
    }

    /// Stops all timers of the connection and fails its requests. Says nothing else.
    pub(super) fn drop_connection(&mut self) {
        self.attempt = None;
        self.keepalive = None;
        self.retry_at = None;
        for tracked in self.tracked.values_mut() {
            tracked.retry_at = None;
        }
        let queued = self.pacer.drain().into_iter().filter_map(|frame| frame.request);
        for (id, origin) in self.requests.drain().into_iter().chain(queued) {
            if origin == Origin::Caller {
                self.events
                    .push_back(ClientEvent::RequestFailed(id, RequestError::Disconnected));
            }
        }
    }

    /// The one final word of a connect.
    pub(super) fn finish(&mut self, code: CloseCode, reason: String) {
        self.events.push_back(ClientEvent::Disconnected {
            code,
            reason,
            will_reconnect: false,
            delay: None,
        });
        self.set_state(ClientState::Closed);
    }
}
