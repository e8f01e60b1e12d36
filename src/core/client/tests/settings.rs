//! What a client is made with.

use super::*;

fn refusal(config: ClientConfig) -> Option<ConfigError> {
    Client::new(config, Instant::now()).err()
}

fn with_reconnect(reconnect: ReconnectOptions) -> ClientConfig {
    ClientConfig {
        reconnect,
        ..key_config()
    }
}

#[test]
fn c005_a_credential_is_needed() {
    // Both at once cannot be said.
    let empty = CredentialSource::ApiKey(Secret::new(String::new()));
    let config = |credential| ClientConfig {
        credential,
        ..key_config()
    };
    assert_eq!(refusal(config(empty)), Some(ConfigError::EmptyApiKey));
    assert_eq!(refusal(config(CredentialSource::TokenProvider)), None);
    assert_eq!(refusal(key_config()), None);
}

#[test]
fn the_defaults_are_those_of_the_sdks() {
    let config = ClientConfig::new(CredentialSource::TokenProvider, 1);
    assert_eq!(config.endpoint, Endpoint::parse("wss://rms.metered.ca").unwrap());
    assert_eq!(
        config.reconnect,
        ReconnectOptions {
            enabled: true,
            initial: Duration::from_millis(500),
            multiplier: 2.0,
            max: secs(30),
            jitter: 0.2,
            attempts: Some(100),
        }
    );
    assert!(!config.retry_first_connect && config.auto_resubscribe);
    assert_eq!(
        (config.inactivity_window, config.token_timeout),
        (secs(60), secs(10))
    );
    assert_eq!(config.validate(), Ok(()));
}

#[test]
fn the_token_timeout_is_more_than_nothing() {
    let config = |token_timeout| ClientConfig {
        token_timeout,
        ..token_config()
    };
    assert_eq!(refusal(config(Duration::ZERO)), Some(ConfigError::TokenTimeout));
    assert_eq!(refusal(config(Duration::from_nanos(1))), None);
    assert_eq!(refusal(config(Duration::MAX)), None);
}

#[test]
fn ranges_of_the_reconnect_options() {
    let ok = ReconnectOptions::default;
    let limits = [
        ReconnectOptions {
            initial: Duration::ZERO,
            ..ok()
        },
        ReconnectOptions {
            initial: Duration::ZERO,
            max: Duration::ZERO,
            ..ok()
        },
        ReconnectOptions {
            initial: secs(30),
            ..ok()
        },
        ReconnectOptions {
            multiplier: 1.0,
            ..ok()
        },
        ReconnectOptions { jitter: 0.0, ..ok() },
        ReconnectOptions { jitter: 1.0, ..ok() },
        ReconnectOptions {
            attempts: Some(1),
            ..ok()
        },
        ReconnectOptions {
            attempts: None,
            ..ok()
        },
    ];
    for options in limits {
        assert_eq!(refusal(with_reconnect(options.clone())), None, "{options:?}");
    }
    let beyond = [
        (0.99, 0.2, Some(100)),
        (-2.0, 0.2, Some(100)),
        (f64::NAN, 0.2, Some(100)),
        (f64::INFINITY, 0.2, Some(100)),
        (2.0, -0.01, Some(100)),
        (2.0, 1.01, Some(100)),
        (2.0, f64::NAN, Some(100)),
        (2.0, 0.2, Some(0)),
    ];
    for (multiplier, jitter, attempts) in beyond {
        let options = ReconnectOptions {
            multiplier,
            jitter,
            attempts,
            ..ok()
        };
        let error = refusal(with_reconnect(options.clone()));
        assert!(matches!(error, Some(ConfigError::Reconnect(_))), "{options:?}");
    }
}

#[test]
fn the_first_delay_is_not_longer_than_the_longest() {
    let options = |initial, max| ReconnectOptions {
        initial,
        max,
        ..ReconnectOptions::default()
    };
    let error = refusal(with_reconnect(options(Duration::from_millis(30_001), secs(30))));
    let Some(ConfigError::Reconnect(text)) = error else {
        panic!("{error:?}")
    };
    assert!(text.contains("first reconnect delay"), "{text}");
    // Also if the longest is the one that was changed, and if nothing is ever reconnected.
    assert!(
        refusal(with_reconnect(options(
            Duration::from_millis(500),
            Duration::ZERO
        )))
        .is_some()
    );
    let off = ReconnectOptions {
        enabled: false,
        ..options(secs(2), secs(1))
    };
    assert!(refusal(with_reconnect(off)).is_some());
}
