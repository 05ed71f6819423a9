//! Runs the build commands: equal ones once, one after another.

use bowline_model::{ServiceName, system::Service};
use bowline_runtime::time;

use crate::{
    Error, Event, Exit, Settings, environment,
    environment::Environment,
    event::Bus,
    expand::Placeholders,
    kept::{Kept, Order, Output},
    lines::{Lines, Tail},
    run::RunId,
};

/// How many lines the error of a failed build remembers.
const LINES_MAX: usize = 40;

/// A command and who declares it. Its environment is that of the first who does.
struct Build {
    command: String,
    services: Vec<ServiceName>,
    environment: Environment,
}

/// Runs every build command of these services, or releases of services.
///
/// # Cancel safety
/// Dropping the future kills the command that runs, with all its processes.
pub(crate) async fn run(
    services: &[&Service],
    settings: &Settings,
    placeholders: Placeholders<'_>,
    run: RunId,
    bus: &Bus,
) -> Result<(), Error> {
    for build in collect(services, placeholders) {
        let began = time::now();
        bus.tell(Event::BuildStarted { command: build.command.clone(), services: build.services.clone() });
        let (exit, lines) = run_one(&build, settings, run, bus).await?;
        if !exit.is_success() {
            return Err(Error::Build { services: build.services, command: build.command, exit, lines });
        }
        bus.tell(Event::BuildEnded { command: build.command, took: time::now() - began });
    }
    Ok(())
}

fn collect(services: &[&Service], placeholders: Placeholders<'_>) -> Vec<Build> {
    let mut builds: Vec<Build> = Vec::new();
    for service in services {
        let Some(command) = &service.build else { continue };
        let command = placeholders.in_command(command);
        if let Some(same) = builds.iter_mut().find(|build| build.command == command) {
            if !same.services.contains(&service.name) {
                same.services.push(service.name.clone());
            }
        } else {
            let environment = environment::of_build(service, placeholders);
            builds.push(Build { command, services: vec![service.name.clone()], environment });
        }
    }
    builds
}

async fn run_one(build: &Build, settings: &Settings, run: RunId, bus: &Bus) -> Result<(Exit, Vec<String>), Error> {
    let order = Order {
        keeper: &settings.keeper,
        command: &build.command,
        dir: &settings.root,
        environment: &build.environment,
        run,
    };
    let started = Kept::start(order).await;
    let (mut kept, output) = started.map_err(|source| Error::Keeper { keeper: settings.keeper.clone(), source })?;
    let tail = Tail::new(LINES_MAX);
    let (exit, ()) = tokio::join!(kept.wait(), follow(output, bus, &tail));
    Ok((exit, tail.all()))
}

async fn follow(output: Output, bus: &Bus, tail: &Tail) {
    let (mut stdout, mut stderr) = (Lines::new(output.stdout), Lines::new(output.stderr));
    let tell = async |is_stderr: bool, line: String| {
        tail.push(&line);
        bus.tell_line(Event::BuildLine { is_stderr, line }).await;
    };
    tokio::join!(
        async {
            while let Some(line) = stdout.next().await {
                tell(false, line).await;
            }
        },
        async {
            while let Some(line) = stderr.next().await {
                tell(true, line).await;
            }
        },
    );
}
