//! HTTP refusals in the service's shape: a status and `{error, message}`.

use std::borrow::Cow;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::codes::ErrorCode;

/// One refusal.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(super) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    pub(super) fn unauthorized(code: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, message)
    }
}

/// Frames and REST share their reasons; REST names malformed input by one code only.
impl From<ErrorCode> for Problem {
    fn from(code: ErrorCode) -> Self {
        let (status, name) = match code {
            ErrorCode::ChannelNotAuthorized | ErrorCode::ActionNotPermitted => {
                (StatusCode::FORBIDDEN, code.as_str())
            }
            ErrorCode::PeerNotFound => (StatusCode::NOT_FOUND, code.as_str()),
            ErrorCode::OverMessageQuota => (StatusCode::TOO_MANY_REQUESTS, code.as_str()),
            ErrorCode::ChannelReserved => (StatusCode::BAD_REQUEST, code.as_str()),
            _ => (StatusCode::BAD_REQUEST, "invalid_request"),
        };
        Self::new(status, name, code.message())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (
            self.status,
            Json(json!({ "error": self.code, "message": self.message })),
        )
            .into_response()
    }
}
