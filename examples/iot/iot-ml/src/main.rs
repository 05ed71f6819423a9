//! The service ml of the devices' system, and the commands that train its model and say how good it is.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use bowline::{Microservice, runtime::fs};
use clap::{Parser, Subcommand};
use iot_ml::{
    model::{Metrics, Model, OfKind},
    serving,
    training::{DEVICES, Sets, evaluate, train},
};

/// Scores hours of devices by a model; trains it.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the model of `IOT_MODEL`, else that of the example; so does no command
    Serve,
    /// Generates devices, learns from healthy ones, and writes the model
    Train {
        /// Of the devices and of the learner
        #[arg(long, default_value_t = 7)]
        seed: u64,
        /// Where the model goes
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Says how good a model is on devices that it has not seen
    Evaluate {
        /// The model
        #[arg(long, value_name = "FILE", default_value = MODEL)]
        model: PathBuf,
        /// Of the devices; absent: the one it was trained with, of which it has not seen the last third
        #[arg(long)]
        seed: Option<u64>,
    },
}

/// Where the model is, from the root of the project.
const MODEL: &str = "examples/iot/model/anomaly.json";

fn main() -> anyhow::Result<()> {
    match Args::parse().command.unwrap_or(Command::Serve) {
        Command::Serve => serve(),
        Command::Train { seed, out } => {
            let model = train(seed, DEVICES);
            fs::replace(&out, &model.write()?).with_context(|| format!("cannot write {}", out.display()))?;
            print(&model, seed, &model.metrics);
            Ok(())
        }
        Command::Evaluate { model, seed } => {
            let model = load(&model)?;
            let seed = seed.unwrap_or(model.data.seed);
            print(&model, seed, &evaluate(&model, &Sets::test_of(seed, model.data.devices)));
            Ok(())
        }
    }
}

#[tokio::main]
async fn serve() -> anyhow::Result<()> {
    let path = std::env::var_os("IOT_MODEL").map_or_else(|| PathBuf::from(MODEL), PathBuf::from);
    let model = load(&path)?;
    let service = Microservice::from_env("ml")?;
    Ok(service.serve(serving::router(Arc::new(model))).await?)
}

fn load(path: &Path) -> anyhow::Result<Model> {
    Model::load(path).with_context(|| format!("{} is no model", path.display()))
}

#[expect(clippy::print_stdout, reason = "it is what these commands are for")]
fn print(model: &Model, seed: u64, metrics: &Metrics) {
    let Metrics { roc_auc, operating, kinds } = metrics;
    println!(
        "model {} of {} trees, on devices of seed {seed} that it has not seen",
        model.version,
        model.forest().len()
    );
    println!("ROC AUC            {roc_auc:.4}");
    println!("at threshold       {:.4}", model.threshold);
    println!("  precision        {:.4}", operating.precision);
    println!("  recall           {:.4}", operating.recall);
    println!("  flagged          {:.4}", operating.flagged);
    println!("{:<9}{:>9}{:>9}", "fault", "ROC AUC", "recall");
    for OfKind { kind, roc_auc, recall } in kinds {
        println!("{kind:<9}{roc_auc:>9.4}{recall:>9.4}");
    }
}
