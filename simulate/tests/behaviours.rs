//! The simulated servers do what real ones do.

pointsman_simulate::every_behaviour!(pointsman_simulate::behaviours::on_simulated_servers);
