//! The bank's ml service, and the commands that train its model and say how good it is.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use bank_ml::{
    model::{Metrics, Model},
    serving,
    training::{ACCOUNTS, Spans, evaluate, train},
};
use bowline::{Microservice, runtime::fs};
use clap::{Parser, Subcommand};

/// Scores transfers by a model; trains it.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the model of `BANK_MODEL`, else that of the example; so does no command
    Serve,
    /// Generates transfers, learns from them, and writes the model
    Train {
        /// Of the transfers and of the learner
        #[arg(long, default_value_t = 7)]
        seed: u64,
        /// Where the model goes
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Says how good a model is on transfers that it has not seen
    Evaluate {
        /// The model
        #[arg(long, value_name = "FILE", default_value = MODEL)]
        model: PathBuf,
        /// Of the transfers; absent: the one it was trained with, whose last 30 days it has not seen
        #[arg(long)]
        seed: Option<u64>,
    },
}

/// Where the model is, from the root of the project.
const MODEL: &str = "examples/bank/model/fraud.json";

fn main() -> anyhow::Result<()> {
    match Args::parse().command.unwrap_or(Command::Serve) {
        Command::Serve => serve(),
        Command::Train { seed, out } => {
            let model = train(seed, ACCOUNTS);
            fs::replace(&out, &model.write()?).with_context(|| format!("cannot write {}", out.display()))?;
            print(&model, seed, &model.metrics);
            Ok(())
        }
        Command::Evaluate { model, seed } => {
            let model = load(&model)?;
            let seed = seed.unwrap_or(model.data.seed);
            let spans = Spans::of(seed, model.data.accounts);
            print(&model, seed, &evaluate(&model, &spans.test));
            Ok(())
        }
    }
}

#[tokio::main]
async fn serve() -> anyhow::Result<()> {
    let path = std::env::var_os("BANK_MODEL").map_or_else(|| PathBuf::from(MODEL), PathBuf::from);
    let model = load(&path)?;
    let service = Microservice::from_env("ml")?;
    Ok(service.serve(serving::router(Arc::new(model))).await?)
}

fn load(path: &Path) -> anyhow::Result<Model> {
    Model::load(path).with_context(|| format!("{} is no model", path.display()))
}

#[expect(clippy::print_stdout, reason = "it is what these commands are for")]
fn print(model: &Model, seed: u64, metrics: &Metrics) {
    let Metrics { roc_auc, average_precision, operating } = metrics;
    println!("model {} of {} trees, on the last 30 days of seed {seed}", model.version, model.forest().len());
    println!("ROC AUC            {roc_auc:.4}");
    println!("average precision  {average_precision:.4}");
    println!("at threshold       {:.4}", model.threshold);
    println!("  precision        {:.4}", operating.precision);
    println!("  recall           {:.4}", operating.recall);
    println!("  denied           {:.4}", operating.denied);
}
