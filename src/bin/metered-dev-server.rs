//! Command line of the development signalling server.

use std::process::ExitCode;

use clap::Parser;
use gstmeteredwebrtc::dev_server::{Arguments, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("metered-dev-server: {err}");
            ExitCode::FAILURE
        }
    }
}
