//! The command line: serves a model, trains one, says how good it is.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use axum::Router;
use bowline::{Microservice, runtime::fs};
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::{Learned, Model};

/// The program of an ml service.
#[derive(Debug)]
pub struct Program<L: Learned> {
    /// What it does, in a sentence of the help.
    pub about: &'static str,
    /// What it generates to learn from.
    pub data: &'static str,
    /// What of it is learned from.
    pub learned_from: &'static str,
    /// What of the data that it was trained with it has not seen.
    pub unseen: &'static str,
    /// The environment variable that says where the model is.
    pub variable: &'static str,
    /// Where it is else, from the root of the project.
    pub file: &'static str,
    /// Trains a model with that seed.
    pub train: fn(u64) -> Model<L>,
    /// How good a model is on data of that seed.
    pub evaluate: fn(&Model<L>, u64) -> L::Metrics,
    /// Prints how good it is on data of that seed.
    pub print: fn(&Model<L>, u64, &L::Metrics),
    /// The service's operations.
    pub router: fn(Arc<Model<L>>) -> Router,
}

impl<L: Learned> Program<L> {
    /// Does what the command line says.
    ///
    /// # Errors
    /// When a model cannot be read or written, or the service cannot be served.
    pub fn run(&self) -> anyhow::Result<()> {
        match self.command().get_matches().subcommand() {
            Some(("train", args)) => self.train(args),
            Some(("evaluate", args)) => self.evaluate(args),
            _ => self.serve(),
        }
    }

    fn command(&self) -> Command {
        let Self { about, data, learned_from, unseen, variable, file, .. } = self;
        let seed = || Arg::new("seed").long("seed").value_name("SEED").value_parser(value_parser!(u64));
        let path = |name| Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf));
        let serve = format!("Serves the model of `{variable}`, else that of the example; so does no command");
        let train = format!("Generates {data}, learns from {learned_from}, and writes the model");
        let evaluate = format!("Says how good a model is on {data} that it has not seen");
        let seed_of_training = format!("Of the {data} and of the learner");
        let seed_of_test = format!("Of the {data}; absent: the one it was trained with, {unseen}");
        Command::new(L::PROGRAM)
            .about(*about)
            .subcommand(Command::new("serve").about(serve))
            .subcommand(
                Command::new("train")
                    .about(train)
                    .arg(seed().default_value("7").help(seed_of_training))
                    .arg(path("out").required(true).help("Where the model goes")),
            )
            .subcommand(
                Command::new("evaluate")
                    .about(evaluate)
                    .arg(path("model").default_value(*file).help("The model"))
                    .arg(seed().help(seed_of_test)),
            )
    }

    fn train(&self, args: &ArgMatches) -> anyhow::Result<()> {
        let seed = *args.get_one::<u64>("seed").expect("it has a default");
        let out = args.get_one::<PathBuf>("out").expect("it is required");
        let model = (self.train)(seed);
        fs::replace(out, &model.write()?).with_context(|| format!("cannot write {}", out.display()))?;
        (self.print)(&model, seed, &model.metrics);
        Ok(())
    }

    fn evaluate(&self, args: &ArgMatches) -> anyhow::Result<()> {
        let model: Model<L> = load(args.get_one::<PathBuf>("model").expect("it has a default"))?;
        let seed = args.get_one("seed").copied().unwrap_or_else(|| L::seed(&model.data));
        (self.print)(&model, seed, &(self.evaluate)(&model, seed));
        Ok(())
    }

    #[tokio::main]
    async fn serve(&self) -> anyhow::Result<()> {
        let path = std::env::var_os(self.variable).map_or_else(|| PathBuf::from(self.file), PathBuf::from);
        let model = load(&path)?;
        let service = Microservice::from_env("ml")?;
        Ok(service.serve((self.router)(Arc::new(model))).await?)
    }
}

fn load<L: Learned>(path: &Path) -> anyhow::Result<Model<L>> {
    Model::load(path).with_context(|| format!("{} is no model", path.display()))
}
