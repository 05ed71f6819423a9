//! `bowline server`: the control plane as a process of its own, without gateway and services.

use std::process::ExitCode;

use anyhow::Context as _;
use bowline_runtime::time;
use bowline_server::OtlpAddrs;

use crate::{
    UNUSABLE, args, check,
    platform::{self, Platform},
    problems::{self, Loaded},
    process::{self, Process},
    summary,
};

/// Opens the API and publishes what the file brings along, until it is told to stop.
pub(crate) async fn run(args: args::Server) -> anyhow::Result<ExitCode> {
    let Some(loaded) = problems::load_or_say(&args.dir, args.profile.as_deref())? else {
        return Ok(ExitCode::from(UNUSABLE));
    };
    if !check::lets_start(&loaded) {
        return Ok(ExitCode::from(UNUSABLE));
    }
    let mut process = Process::begin()?;
    let outcome = Box::pin(follow(&args, loaded, &mut process)).await;
    Ok(process.end(outcome).await)
}

/// A run from its start to its end. An error says why it did not start; a signal is none.
async fn follow(args: &args::Server, loaded: Loaded, process: &mut Process) -> anyhow::Result<()> {
    let begun = time::now();
    let Loaded { system, dir, brought, .. } = loaded;
    let data_dir = args.data_dir.clone().unwrap_or_else(|| dir.join(".bowline"));
    let data_dir = std::path::absolute(&data_dir).context("cannot resolve the data folder")?;
    let args::Server { api, otlp_grpc, otlp_http, traces_max, metrics_max, grace, .. } = *args;
    let otlp = OtlpAddrs { grpc: otlp_grpc.addr(), http: otlp_http.addr() };
    let ca_key = args.ca_key.clone();
    let settings = platform::Settings { data_dir, api: Some(api), otlp, traces_max, metrics_max, grace, ca_key };
    let Process { metrics, out, stop, .. } = process;
    let starting = Platform::start(settings, &system, metrics.clone());
    let Some(platform) = stop.or(starting).await else { return Ok(()) };
    let mut platform = platform?;
    let outcome = match stop.or(platform.publish(&system, &brought)).await {
        Some(Ok(notes)) => {
            for note in notes {
                out.line(note).await;
            }
            platform.warn_if_open();
            platform.node.begin_watching();
            out.line(summary::server_ready(&system, time::now() - begun, &platform.node, &platform.data_dir)).await;
            stop.told().await;
            Ok(())
        }
        Some(Err(error)) => Err(error),
        None => Ok(()),
    };
    let ended = stop.unless_again(platform.stop()).await;
    let ended = if ended.is_some() { summary::Ended::default() } else { summary::Ended::AtOnce };
    process::last_words(async {
        out.line(summary::ended(&ended)).await;
        out.flush().await;
    })
    .await;
    outcome
}
