"""The network of ``docs/examples/coba.py`` in Brian2's C++ standalone mode, as a user of Brian2 would write it.

``coba.py`` runs it; it prints the mean rate and the wall time of the simulation loop, as JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile

import brian2
from brian2 import ms


def main() -> None:
    """Build, compile and run the network once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--method", default="exponential_euler")
    options = parser.parse_args()

    brian2.set_device("cpp_standalone", build_on_run=False)
    brian2.seed(0)
    brian2.defaultclock.dt = 0.1 * ms
    n_exc, n_inh = 3200 * options.scale, 800 * options.scale
    neurons = brian2.NeuronGroup(
        n_exc + n_inh,
        """dv/dt = ((-60*mV - v) + g_exc*(0*mV - v) + g_inh*(-80*mV - v) + 20*mV) / (20*ms) : volt (unless refractory)
           dg_exc/dt = -g_exc / (5*ms) : 1
           dg_inh/dt = -g_inh / (10*ms) : 1""",
        threshold="v >= -50*mV",
        reset="v = -60*mV",
        refractory=5 * ms,
        method=options.method,
    )
    neurons.v = "(-55 + 2*randn())*mV"
    excitatory = brian2.Synapses(neurons[:n_exc], neurons, on_pre="g_exc += 0.6")
    excitatory.connect(p=80 / len(neurons))
    inhibitory = brian2.Synapses(neurons[n_exc:], neurons, on_pre="g_inh += 6.7")
    inhibitory.connect(p=80 / len(neurons))
    spikes = brian2.SpikeMonitor(neurons)
    brian2.Network(neurons, excitatory, inhibitory, spikes).run(options.seconds * brian2.second)
    with tempfile.TemporaryDirectory() as folder:
        brian2.device.build(directory=folder, compile=True, run=True)
        rate = spikes.num_spikes / len(neurons) / options.seconds
        print(json.dumps({"rate": rate, "seconds": brian2.device._last_run_time}))


if __name__ == "__main__":
    main()
