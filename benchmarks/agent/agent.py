"""The program that runs on the device: one file, needs Python 3.8 or newer, numpy and a runtime.

    python agent.py REQUEST.json

reads a request, and writes the answer to the path that the request names, in one atomic step, and exits with 0. A
request that cannot be answered is answered too: `{"error": {"kind": ..., "message": ...}}`, with the kind one of
`runtime` (none installed, or not usable), `numpy` (a version that the runtime breaks on), `model` (the file), `input`
(the arrays), `run` (the runtime refused or failed), `library` (a delegate's cannot be loaded), `delegate` (it refused),
`cpus`, `memory`, `meter`, `request`. Any other exit code is a crash. Nothing is
read but the request, the model, the inputs and /proc and /sys; nothing is written but the answer and the outputs.

Commands: `describe` the machine; `infer` outputs for given inputs; `measure` latency and memory of one model;
`alternate` between models in short turns, so that what disturbs one disturbs the other. What each number means is
in benchmarks/README.md. Times are in nanoseconds or seconds, sizes in bytes, as the names say.
"""

# ruff: noqa: B905 - `zip(strict=)` needs Python 3.10, this file runs on 3.8

import gc
import json
import math
import os
import signal
import sys
import time
from array import array
from contextlib import ExitStack
from importlib import util
from itertools import cycle

try:
    import numpy as np
except ImportError as missing:
    np, NUMPY_FAULT = None, str(missing)

FORMAT_VERSION = 1
RUNTIMES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
PARENT = os.getppid()
LOOK_SECONDS, MOST_LOOKS = 0.5, 240
IDLE_SECONDS, IDLE_LOOKS = 1.0, 10
POWER_MONITORS = ("ina219", "ina220", "ina226", "ina230", "ina231", "ina3221", "ina228", "ina238")
BATCH_SECONDS, LEAST_BATCHES, MOST_BATCHES = 0.02, 20, 64
SURE = 0.8  # the interval that is computed from all samples afterwards is as wide within a fifth
STUDENT = 2.09  # two-sided 95 % of 19 degrees of freedom, which more batches only make smaller


class Refused(Exception):  # noqa: N818 - it says what happened to the request
    """The request cannot be answered, for a reason that is known."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


# ---------------------------------------------------------------- the machine


def read(path):
    """Text of a file, without the white space around it; None where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0 \n")
    except OSError:
        return None


def kernel_table(path):
    """A `Key:  value kB` file of /proc as {key: bytes}; empty where there is none."""
    rows = (line.split() for line in (read(path) or "").splitlines())
    return {row[0][:-1]: int(row[1]) * 1024 for row in rows if len(row) == 3 and row[2] == "kB"}


def memory():
    """What the kernel says this process holds, in bytes; null where it does not say."""
    status, rollup = kernel_table("/proc/self/status"), kernel_table("/proc/self/smaps_rollup")
    private = [rollup[key] for key in ("Private_Clean", "Private_Dirty") if key in rollup]
    return {
        "resident_bytes": status.get("VmRSS"),
        "peak_bytes": status.get("VmHWM", highest_resident()),
        "anonymous_bytes": status.get("RssAnon"),
        "file_bytes": status.get("RssFile"),
        "shared_bytes": status.get("RssShmem"),
        "swap_bytes": status.get("VmSwap"),
        "proportional_bytes": rollup.get("Pss"),
        "private_bytes": sum(private) if private else None,
    }


def highest_resident():
    """Peak resident bytes where there is no /proc (macOS counts bytes, the others KiB)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def number(path, scale=1):
    """A whole number from a file of /sys, scaled; None where there is none."""
    text = read(path) or ""
    return int(text) * scale if text.lstrip("-").isdigit() else None


def entries(folder):
    """Paths in a folder, in order; none where there is no such folder."""
    return sorted(os.path.join(folder, name) for name in os.listdir(folder)) if os.path.isdir(folder) else []


def temperature(root="/"):
    """The hottest thermal zone in degrees Celsius; None where none can be read."""
    zones = [path for path in entries(root + "sys/class/thermal") if "thermal_zone" in path]
    found = [number(os.path.join(zone, "temp")) for zone in zones]
    return max((value / 1000 for value in found if value is not None), default=None)


def scaling(core, name, root="/"):
    """Path of a file of a core's frequency scaling."""
    return f"{root}sys/devices/system/cpu/cpu{core}/cpufreq/scaling_{name}"


def frequencies(cores, root="/"):
    """Frequency of each core in Hz, now and as far as it may go, of the cores that tell it."""
    names = {"current_hz": "cur_freq", "lowest_hz": "min_freq", "highest_hz": "max_freq"}
    rows = ({key: number(scaling(core, name, root), 1000) for key, name in names.items()} for core in cores)
    return [{"core": core, **row} for core, row in zip(cores, rows) if row["current_hz"] is not None]


def governor(cores, root="/"):
    """The frequency governor of the cores; where they differ, the first that is not `performance`."""
    found = [name for name in (read(scaling(core, "governor", root)) for core in cores) if name]
    return next((name for name in found if name != "performance"), found[0] if found else None)


def throttled(root="/"):
    """The Raspberry Pi firmware's word of throttling, bit by bit; None on other machines."""
    found = throttled_by_kernel(root)
    return hexadecimal(said_by(["vcgencmd", "get_throttled"])) if found is None else found


def throttled_by_kernel(root="/"):
    """The same where the kernel has a file of it, which no process has to be started for."""
    chips = [path for path in entries(root + "sys/devices/platform") if os.path.basename(path).startswith("soc")]
    folders = [path for chip in chips for path in entries(chip) if path.endswith(":firmware")]
    found = (hexadecimal(read(os.path.join(folder, "get_throttled"))) for folder in folders)
    return next((word for word in found if word is not None), None)


def hexadecimal(text):
    """The number in `50005` or `throttled=0x50005`; None where there is none."""
    try:
        return int((text or "").rpartition("=")[2].strip(), 16)
    except ValueError:
        return None


def said_by(words):
    """What a command prints, None where it is not there; without `subprocess`, which takes memory that is measured."""
    if not any(os.access(os.path.join(folder, words[0]), os.X_OK) for folder in os.get_exec_path()):
        return None
    out, into = os.pipe()
    child = os.posix_spawnp(words[0], words, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, into, 1)])
    os.close(into)
    with open(out, encoding="utf-8", errors="replace") as file:
        text = file.read(1000)
    return text if os.waitpid(child, 0)[1] == 0 else None


def power(root="/"):
    """`battery` if one is being discharged, `mains` if power comes from outside; None where no supply tells."""
    supplies = entries(root + "sys/class/power_supply")
    if any(map(discharges, supplies)):
        return "battery"
    return "mains" if any(number(os.path.join(path, "online")) == 1 for path in supplies) else None


def pressure(root="/"):
    """Share of the last 10 s in which some process waited for a core, in percent; None where the kernel tells none."""
    fields = (read(root + "proc/pressure/cpu") or "").replace("=", " ").split()
    return float(fields[2]) if fields[:2] == ["some", "avg10"] else None


def conditions(root="/"):
    """What can change from one second to the next and moves latency, of the cores that this process may run on."""
    cores = usable_cores() or [0]
    clocks = frequencies(cores, root)
    return {
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "governor": governor(cores, root),
        "frequency_hz": clocks[0]["current_hz"] if clocks else None,
        "temperature_celsius": temperature(root),
        "frequencies": clocks,
        "throttled": throttled(root),
        "power": power(root),
        "memory_available_bytes": kernel_table(root + "proc/meminfo").get("MemAvailable"),
        "cpu_pressure": pressure(root),
    }


def core_seconds(cores, root="/"):
    """Seconds that cores were busy since boot, and that a hypervisor took from them (proc(5), /proc/stat)."""
    rows = (line.split() for line in (read(root + "proc/stat") or "").splitlines())
    wanted = {f"cpu{core}" for core in cores}
    table = [list(map(int, row[1:])) + [0] * 8 for row in rows if row and row[0] in wanted]
    tick = os.sysconf("SC_CLK_TCK")
    busy = sum(sum(row[:3]) + row[5] + row[6] for row in table) / tick
    return (busy, sum(row[7] for row in table) / tick) if table else None


class Meter:
    """Energy by a file of the kernel: a counter of microjoules, or microwatts that are read again and again."""

    def __init__(self, path, counts):
        self.path, self.counts = path, counts
        self.range = number(os.path.join(os.path.dirname(path), "max_energy_range_uj"))
        self.start()

    def start(self):
        """Begin a span."""
        self.begin, self.readings = time.perf_counter(), [self._read()]

    def look(self):
        """Read, which also keeps a counter from turning over twice unseen."""
        self.readings.append(self._read())

    def stop(self):
        """Joules and seconds since the span began, and how many readings they come from."""
        self.look()
        seconds, found = time.perf_counter() - self.begin, self.readings
        if self.counts:
            steps = [now - before for now, before in zip(found[1:], found)]
            micro = sum(step + (self.range or 0) if step < 0 else step for step in steps)
        else:
            micro = sum(found) / len(found) * seconds
        return {"joules": max(0.0, micro * 1e-6), "seconds": seconds, "readings": len(found)}

    def _read(self):
        value = number(self.path)
        if value is None:
            raise Refused("meter", f"{self.path} has no whole number to read")
        return value


def find_meter(wished=None, root="/"):
    """The meter at `FILE=uJ` or `FILE=uW`, or else what the kernel has: a power monitor, RAPL, or a battery in use."""
    if wished:
        path, _, unit = wished.rpartition("=")
        return Meter(path, unit == "uJ")
    chips = [path for path in entries(root + "sys/class/hwmon") if read(os.path.join(path, "name")) in POWER_MONITORS]
    rapl = entries(root + "sys/class/powercap")
    used = [path for path in entries(root + "sys/class/power_supply") if discharges(path)]
    files = [(os.path.join(path, "power1_input"), False) for path in chips]
    files += [(os.path.join(path, "energy_uj"), True) for path in rapl if path.endswith("intel-rapl:0")]
    files += [(os.path.join(path, "power_now"), False) for path in used]
    return next((Meter(path, counts) for path, counts in files if number(path) is not None), None)


def idle_watts(meter):
    """Mean power while this process sleeps."""
    meter.start()
    for _ in range(IDLE_LOOKS):
        time.sleep(IDLE_SECONDS / IDLE_LOOKS)
        meter.look()
    found = meter.stop()
    return found["joules"] / found["seconds"]


def discharges(supply):
    """True for a battery that power is taken from."""
    return read(os.path.join(supply, "status")) == "Discharging"


class Watch:
    """Looks at the machine while a model runs on it, between runs: clocks, heat, and who else uses the cores."""

    def __init__(self, root="/", meter=None):
        self.root, self.cores, self.meter = root, usable_cores(), meter
        self.looks, self.pause = [], LOOK_SECONDS
        self.begin = time.perf_counter()
        self.before = core_seconds(self.cores, root), time.process_time()

    def look(self, runs):
        """Note heat, clock and throttling after so many runs, if it is time to; every second note goes if too many."""
        seconds = time.perf_counter() - self.begin
        if self.looks and seconds < self.looks[-1]["seconds"] + self.pause:
            return
        if self.meter is not None:
            self.meter.look()
        clocks = [row["current_hz"] for row in frequencies(self.cores[:16], self.root)]
        found = {
            "temperature_celsius": temperature(self.root),
            "frequency_hz": max(clocks, default=None),
            "throttled": throttled_by_kernel(self.root),
        }
        if set(found.values()) != {None}:
            self.looks.append({"seconds": seconds, "runs": runs, **found})
        if len(self.looks) >= MOST_LOOKS:
            self.looks, self.pause = self.looks[::2], 2 * self.pause

    def processor(self):
        """Seconds of the cores since the watch began: busy, of this process, taken by a hypervisor."""
        now, (before, own) = core_seconds(self.cores, self.root), self.before
        if now is None or before is None:
            return None
        return {
            "seconds": time.perf_counter() - self.begin,
            "cores": len(self.cores),
            "busy_seconds": max(0.0, now[0] - before[0]),
            "stolen_seconds": max(0.0, now[1] - before[1]),
            "own_seconds": time.process_time() - own,
        }


def machine():
    """What stays the same on this machine."""
    system = os.uname()
    names = (line.partition(":") for line in (read("/proc/cpuinfo") or "").splitlines())
    processor = next((value.strip() for key, _, value in names if key.strip() in ("model name", "Model")), None)
    return {
        "board": read("/proc/device-tree/model"),
        "processor": processor,
        "architecture": system.machine,
        "system": system.sysname,
        "kernel": system.release,
        "cores": os.cpu_count() or 1,
        "usable_cores": len(usable_cores()) or os.cpu_count() or 1,
        "memory_bytes": kernel_table("/proc/meminfo").get("MemTotal"),
        "python": ".".join(map(str, sys.version_info[:3])),
        "numpy": np.__version__,
    }


def pin(cpus):
    """Stay on these cores, as will every thread that is started from now on."""
    if not hasattr(os, "sched_setaffinity"):
        raise Refused("cpus", f"{sys.platform} does not hold a process on chosen cores")
    there = usable_cores()
    missing = sorted(set(cpus) - set(there))
    if missing:
        raise Refused("cpus", f"no such core to use: {listed(missing)}; there are {listed(there)}")
    os.sched_setaffinity(0, cpus)


def usable_cores():
    """The cores that this process may run on, in order; empty where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def listed(values):
    """Values with commas between them."""
    return ", ".join(map(str, values))


# ---------------------------------------------------------------- the runtime


def installed():
    """Names and versions of the runtimes that this Python can find."""
    return [
        {"name": name, "version": version(module)}
        for name, module in RUNTIMES.items()
        if util.find_spec(module) is not None
    ]


def version(module):
    """Version of an installed package by the name of its metadata folder; `unknown` where it has none.

    `importlib.metadata` would tell too, and takes 2.4 MiB that would be counted as the runtime's.
    """
    for place in util.find_spec(module).submodule_search_locations or ():
        for entry in os.listdir(os.path.dirname(place)):
            name, _, rest = entry.partition("-")
            stem, suffix = os.path.splitext(rest)
            if name == module and suffix in (".dist-info", ".egg-info"):
                return stem.partition("-")[0]
    return "unknown"


def open_runtime(wanted):
    """Import a runtime: the interpreter module, and its name and version."""
    found = installed()
    usable = [item for item in found if wanted in ("auto", item["name"])]
    if not usable:
        others = ", ".join(item["name"] for item in found) or "none"
        what = "no TFLite runtime is" if wanted == "auto" else f"the runtime {wanted!r} is not"
        raise Refused("runtime", f"{what} installed for {sys.executable} (found: {others})")
    chosen = usable[0]
    if chosen["name"] == "tflite-runtime" and int(np.__version__.split(".")[0]) >= 2:
        problem = f"tflite-runtime {chosen['version']} does not work with numpy {np.__version__}"
        raise Refused("numpy", f"{problem}: it needs numpy<2")
    try:
        module = __import__(RUNTIMES[chosen["name"]] + ".interpreter", fromlist=["Interpreter"])
    except ImportError as cause:
        raise Refused("runtime", f"{chosen['name']} {chosen['version']} cannot be imported: {cause}") from cause
    return module, chosen


def load_delegate(module, wanted):
    """The external delegate in a library of this machine."""
    try:
        return module.load_delegate(wanted["library"], wanted["options"])
    except OSError as cause:
        raise Refused("library", str(cause)) from cause
    except AttributeError as cause:
        raise Refused("library", f"{wanted['library']} is no TFLite delegate: {cause}") from cause
    except (ValueError, RuntimeError) as cause:
        raise Refused("delegate", " ".join(str(cause).split()) or "it gave no reason") from cause


def taken(listing, outputs, parts):
    """Indices of the operators of a graph that are inside some of its DELEGATE nodes.

    The runtime lists all operators, then the nodes that replaced some of them, and not which. But such a node names
    its inputs and outputs: what lies on the way back from its outputs to its inputs is inside. An operator that no
    output of the graph depends on (ASSIGN_VARIABLE) is inside if all of its inputs are known there.
    """
    operators = [node for node in listing if node["op_name"] != "DELEGATE"]
    maker = {tensor: index for index, node in enumerate(operators) for tensor in node["outputs"].tolist()}
    inside, known = set(), []
    for part in parts:
        seen, rest = set(part["inputs"].tolist()), part["outputs"].tolist()
        while rest:
            tensor = rest.pop()
            if tensor not in seen and tensor in maker:
                inside.add(maker[tensor])
                rest += operators[maker[tensor]]["inputs"].tolist()
            seen.add(tensor)
        known.append(seen)
    for index in dead_ends(operators, outputs):
        node = operators[index]
        inputs = {tensor for tensor in node["inputs"].tolist() if tensor >= 0}
        for seen in known:
            if inputs and inputs <= seen:
                inside.add(index)
                seen.update(node["outputs"].tolist())
    return inside


def dead_ends(operators, outputs):
    """Indices, in order, of the operators that no output of the graph depends on."""
    alive, found = set(outputs), []
    for index in reversed(range(len(operators))):
        if alive.isdisjoint(operators[index]["outputs"].tolist()):
            found.append(index)
        else:
            alive.update(operators[index]["inputs"].tolist())
    return found[::-1]


class Model:
    """One loaded model: the interpreter with its tensors allocated, and how long that took."""

    def __init__(self, module, path, request, arrays=None):
        clock = time.perf_counter_ns
        self.wanted, self.xnnpack = request.get("delegate"), request["xnnpack"]
        start = clock()
        self.interpreter = self._open(module, path, request)
        opened = clock()
        self.own_parts = len(self._parts()) if self.wanted else 0
        resumed = clock()
        self.inputs = self._guard("read names", self.interpreter.get_input_details)
        self.rows = self._resize(arrays, request.get("batch", 1)) if arrays is not None else None
        self._allocate()
        self.load_ns = clock() - resumed + opened - start
        self.inputs = self._guard("read names", self.interpreter.get_input_details)
        self.outputs = self._guard("read names", self.interpreter.get_output_details)

    @staticmethod
    def _open(module, path, request):
        kinds = getattr(module, "OpResolverType", None)
        if not request["xnnpack"] and kinds is None:
            raise Refused("runtime", "this runtime is too old to turn XNNPACK off")
        options = {"model_path": path, "num_threads": request["threads"]}
        if not request["xnnpack"]:
            options["experimental_op_resolver_type"] = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        wanted = request.get("delegate")
        if wanted:
            options["experimental_delegates"] = [load_delegate(module, wanted)]
        try:
            return module.Interpreter(**options)
        except RuntimeError as cause:
            reason = str(cause) or "it cannot be applied to this graph"
            raise Refused("delegate" if wanted else "model", reason) from cause
        except ValueError as cause:
            raise Refused("model", str(cause)) from cause

    @staticmethod
    def _guard(what, call, *arguments):
        try:
            return call(*arguments)
        except (ValueError, RuntimeError) as cause:
            raise Refused("model" if what == "read names" else "run", f"{what}: {cause}") from cause

    def _allocate(self):
        """Take memory for the tensors; where there is not enough of it the runtimes give no reason at all."""
        try:
            self._guard("allocate", self.interpreter.allocate_tensors)
        except Refused as refusal:
            if str(refusal) != "allocate: ":
                raise
            tensors = self._guard("read names", self.interpreter.get_tensor_details)
            largest = max(math.prod(map(int, one["shape"])) * np.dtype(one["dtype"]).itemsize for one in tensors)
            free = kernel_table("/proc/meminfo").get("MemAvailable", "an unknown number of")
            words = f"the largest of its tensors takes {largest} bytes, {free} bytes are available"
            raise Refused("memory", f"out of memory: {words}") from refusal

    def _resize(self, arrays, batch):
        """Fit the inputs to the arrays; gives the number of samples in one run."""
        if len(arrays) != len(self.inputs):
            raise Refused("input", f"the model has {len(self.inputs)} inputs, {len(arrays)} arrays were given")
        samples = {len(values) if values.ndim else 0 for values in arrays}
        if arrays and (len(samples) != 1 or samples == {0}):
            raise Refused("input", f"arrays must have the same number of samples, at least one: {sorted(samples)}")
        led = [check_array(values, detail) for values, detail in zip(arrays, self.inputs)]
        if not arrays or not all(led):
            batch = 1
        lead = {int(detail["shape"][0]) for detail, leads in zip(self.inputs, led) if leads} or {1}
        if len(lead) != 1 or (lead != {1} and not all(led)):
            raise Refused("input", f"the inputs have unlike batch sizes: {sorted(lead)}")
        rows = max(lead.pop(), min([batch, *samples]))
        for values, detail, leads in zip(arrays, self.inputs, led):
            shape = [rows, *values.shape[1:]] if leads else list(values.shape[1:])
            if shape != detail["shape"].tolist():
                self._guard("resize", self.interpreter.resize_tensor_input, detail["index"], shape)
        return rows

    def feed(self, arrays):
        """Put one run's arrays into the input tensors."""
        for values, detail in zip(arrays, self.inputs):
            self.interpreter.set_tensor(detail["index"], values)

    def invoke(self):
        """One inference."""
        self._guard("invoke", self.interpreter.invoke)

    def run(self, arrays):
        """Outputs for one run's arrays, copied out of the runtime."""
        self.feed(arrays)
        self.invoke()
        return [self.interpreter.get_tensor(detail["index"]) for detail in self.outputs]

    def _parts(self):
        """The nodes of the graph that stand for what delegates took, in the order in which these were applied."""
        return [node for node in self._listing() or () if node["op_name"] == "DELEGATE"]

    def _listing(self):
        """All nodes of the main graph; None where the runtime does not tell."""
        listing = getattr(self.interpreter, "_get_ops_details", None)
        return None if listing is None else listing()

    def partitions(self):
        """How many pieces of the graph delegates really took; None where the runtime does not tell."""
        return None if self._listing() is None else len(self._parts())

    def delegations(self):
        """What each delegate took and left of the main graph: the one that was asked for, then XNNPACK."""
        listing = self._listing()
        if listing is None:
            return []
        parts = [node for node in listing if node["op_name"] == "DELEGATE"]
        asked = [(self.wanted["library"], parts[: self.own_parts])] if self.wanted else []
        default = [("XNNPACK", parts[self.own_parts :])] if self.xnnpack else []
        return [self._delegation(name, listing, own) for name, own in asked + default]

    def _delegation(self, name, listing, parts):
        operators = [node["op_name"] for node in listing if node["op_name"] != "DELEGATE"]
        inside = taken(listing, [detail["index"] for detail in self.outputs], parts)
        outside = [operator for index, operator in enumerate(operators) if index not in inside]
        return {
            "delegate": name,
            "operators": len(operators),
            "delegated": len(inside),
            "partitions": len(parts),
            "left": {operator: outside.count(operator) for operator in sorted(set(outside))},
        }

    def contract(self):
        """Inputs and outputs as the file declares them, in its order."""
        names = self._signature_names()
        return {
            "inputs": [describe_tensor(detail, names[0]) for detail in self.inputs],
            "outputs": [describe_tensor(detail, names[1]) for detail in self.outputs],
        }

    def _signature_names(self):
        """{tensor index: argument name} of the inputs and the outputs, of the signature that spans the main graph."""
        listing = getattr(self.interpreter, "_get_full_signature_list", dict)
        own = [{detail["index"] for detail in side} for side in (self.inputs, self.outputs)]
        for signature in listing().values():
            names = [{index: name for name, index in signature[side].items()} for side in ("inputs", "outputs")]
            if [set(side) for side in names] == own:
                return names
        return [{}, {}]


def check_array(values, detail):
    """True if the array's samples share the tensor's leading axis, False if each sample is a whole tensor."""
    wanted = np.dtype(detail["dtype"])
    if wanted.kind not in "fiubc":
        raise Refused("input", f"input {detail['name']!r} takes strings, which edgekit does not feed")
    if values.dtype != wanted:
        raise Refused("input", f"input {detail['name']!r} takes {wanted}, the array is {values.dtype}")
    shape = detail["shape"].tolist()
    signature = detail.get("shape_signature", detail["shape"]).tolist() or shape
    for leads, own in ((True, signature[1:]), (False, signature)):
        rest = values.shape[1:]
        if (leads and not signature) or len(rest) != len(own):
            continue
        if all(mine in (-1, theirs) for mine, theirs in zip(own, rest)):
            return leads
    raise Refused("input", f"input {detail['name']!r} has shape {signature}, the array {list(values.shape)}")


def describe_tensor(detail, names):
    """One row of the contract."""
    scale, zero_point = detail["quantization"]
    quantized = math.isfinite(scale) and scale != 0.0
    signature = detail.get("shape_signature", detail["shape"]).tolist()
    return {
        "name": detail["name"],
        "argument": names.get(detail["index"]),
        "dtype": np.dtype(detail["dtype"]).name,
        "shape": signature or detail["shape"].tolist(),
        "scale": float(scale) if quantized else None,
        "zero_point": int(zero_point) if quantized else None,
    }


def random_input(detail, seed):
    """Values that are safe for any graph: the whole range of a quantized tensor, [-1, 1) for floats, 0 or 1 else."""
    dtype, shape = np.dtype(detail["dtype"]), detail["shape"]
    if dtype.kind not in "fiubc":
        raise Refused("input", f"input {detail['name']!r} takes strings, which edgekit does not feed")
    values = np.empty(shape, dtype)
    flat = values.reshape(-1)
    for first in range(0, flat.size, 4096):
        words = random_words(seed, first, min(4096, flat.size - first))
        if dtype.kind in "fc":
            words = (words >> np.uint64(11)) * 2.0**-52 - 1
        elif not detail["quantization"][0]:
            words >>= np.uint64(63)
        flat[first : first + len(words)] = words.astype(dtype)
    return values


def random_words(seed, first, count):
    """Random 64-bit words by their number: SplitMix64 (Steele, Lea and Flood 2014, Fast splittable generators).

    `numpy.random` would do, and takes 6.6 MiB that would be counted as the process's.
    """
    words = np.arange(first + 1, first + count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words ^= words >> np.uint64(shift)
        words *= np.uint64(factor)
    return words ^ (words >> np.uint64(31))


# ---------------------------------------------------------------- commands


def describe(request):
    """The machine, its runtimes, and its present state."""
    return {"machine": machine(), "runtimes": installed(), "conditions": conditions()}


def load_arrays(paths):
    """Arrays mapped from .npy files, never read as a whole."""
    try:
        return [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
    except (OSError, ValueError) as cause:
        raise Refused("input", f"an input file cannot be read: {cause}") from cause


def infer(request):
    """Raw outputs for all samples, streamed from .npy files to .npy files."""
    module, runtime = open_runtime(request["runtime"])
    arrays = load_arrays(request["inputs"])
    model = Model(module, request["model"], request, arrays)
    samples = len(arrays[0]) if arrays else 1
    os.makedirs(request["outputs"], exist_ok=True)
    sinks = [os.path.join(request["outputs"], f"{index}.npy") for index in range(len(model.outputs))]
    start = time.perf_counter()
    shapes = stream(model, arrays, samples, sinks)
    return {
        "runtime": runtime,
        "load_seconds": model.load_ns / 1e9,
        "seconds": time.perf_counter() - start,
        "samples_per_run": model.rows,
        "delegations": model.delegations(),
        "delegate_partitions": model.partitions(),
        "output_shapes": shapes,
        **model.contract(),
    }


def stream(model, arrays, samples, sinks):
    """Run all samples; the last run is filled up with its last sample. Gives the shapes of the whole outputs."""
    shapes = []
    with ExitStack() as stack:
        files = [stack.enter_context(open(path, "wb")) for path in sinks]
        for first in range(0, samples, model.rows):
            leave_if_orphaned()
            count = min(model.rows, samples - first)
            outputs = model.run([take(values, first, model, detail) for values, detail in zip(arrays, model.inputs)])
            parts = [split(output, count, model.rows, detail) for output, detail in zip(outputs, model.outputs)]
            if not shapes:
                shapes = [[samples, *part.shape[1:]] for part in parts]
                for file, part, shape in zip(files, parts, shapes):
                    write_header(file, part.dtype, shape)
            for file, part, shape in zip(files, parts, shapes):
                if list(part.shape[1:]) != shape[1:]:
                    raise Refused("run", f"an output changed shape: {shape[1:]}, then {list(part.shape[1:])}")
                file.write(part.tobytes())
    return shapes


def write_header(file, dtype, shape):
    """The head of a .npy file, before any data: rows are appended, so a full disk is an error and not a SIGBUS."""
    np.lib.format.write_array_header_1_0(file, {"descr": dtype.str, "fortran_order": False, "shape": tuple(shape)})


def take(values, first, model, detail):
    """One run's samples of an input."""
    if values.ndim == len(detail["shape"]) + 1:
        return np.asarray(values[first])
    part = values[first : first + model.rows]
    missing = model.rows - len(part)
    return np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part


def split(output, count, rows, detail):
    """The wanted samples of an output, on axis 0; an output without a batch is one sample."""
    if output.dtype.kind not in "fiubc":
        raise Refused("run", f"output {detail['name']!r} is made of strings, which edgekit does not read")
    if output.ndim and len(output) == rows:
        return output[:count]
    if rows == 1:
        return output[np.newaxis]
    raise Refused("run", f"output {detail['name']!r} of shape {list(output.shape)} does not follow a batch of {rows}")


def timed(invoke, min_runs, max_runs, min_seconds, max_seconds, prepare=None):
    """Times of single runs in ns, until enough runs and seconds, or too many of either; `prepare` is not timed."""
    clock, samples = time.perf_counter_ns, array("q")
    begin = clock()
    enough, last = begin + min_seconds * 1e9, begin + max_seconds * 1e9
    while True:
        if prepare is not None:
            prepare()
        start = clock()
        invoke()
        stop = clock()
        samples.append(stop - start)
        runs = len(samples)
        if runs >= max_runs or stop >= last or (runs >= min_runs and stop >= enough):
            return samples


def steady(invoke, rule, watch, prepare=None):
    """Times of single runs as the plan wants them, in pieces between which the machine is looked at.

    With a precision in the plan, pieces are short batches, and it goes on until these agree well enough.
    """
    samples, batches, begin = array("q"), Batches(), time.perf_counter()
    wished = rule.get("precision")
    while True:
        leave_if_orphaned()
        watch.look(len(samples))
        past, runs = time.perf_counter() - begin, len(samples)
        wanted = rule["min_seconds"] - past, rule["max_seconds"] - past
        precise = not wished or batches.relative_width() <= SURE * wished
        enough = runs >= rule["min_runs"] and wanted[0] <= 0 and precise
        if runs >= rule["max_runs"] or wanted[1] <= 0 < runs or enough:
            return samples
        seconds = [max(0, min(LOOK_SECONDS, left)) for left in wanted]
        if wished:
            seconds = [min(BATCH_SECONDS, left) for left in (BATCH_SECONDS, seconds[1])]
        least = 1 if wished else max(1, rule["min_runs"] - runs)
        piece = timed(invoke, least, rule["max_runs"] - runs, *seconds, prepare)
        batches.add(sorted(piece)[len(piece) // 2])
        samples += piece


class Batches:
    """How well a median is known, by the means of batches of neighbouring runs (Law and Kelton, batch means).

    When there are many batches, neighbours become one: they stay few, and grow long against what one run leaves to the
    next.
    """

    def __init__(self):
        self.middles, self.joined, self.rest = [], 1, []

    def add(self, middle):
        """Take the median of one more piece."""
        self.rest.append(middle)
        if len(self.rest) == self.joined:
            self.middles.append(sum(self.rest) / self.joined)
            self.rest = []
        if len(self.middles) == MOST_BATCHES:
            pairs = zip(self.middles[::2], self.middles[1::2])
            self.middles, self.joined = [(first + second) / 2 for first, second in pairs], 2 * self.joined

    def relative_width(self):
        """Half of the width of the 95 % interval as a share of the median; infinite while there are too few."""
        count = len(self.middles)
        if count < LEAST_BATCHES:
            return math.inf
        mean = sum(self.middles) / count
        variance = sum((middle - mean) ** 2 for middle in self.middles) / (count - 1)
        return STUDENT * math.sqrt(variance / count) / mean


def warm_up(invoke, rule, prepare=None):
    """Runs in windows until two neighbours agree in their median; gives the times and whether they did."""
    samples, before = array("q"), None
    deadline = time.perf_counter() + rule["max_seconds"]
    while True:
        leave_if_orphaned()
        window = timed(invoke, rule["window_runs"], 10000, rule["window_seconds"], math.inf, prepare)
        samples += window
        middle = sorted(window)[len(window) // 2]
        if before is not None:
            if abs(middle - before) <= rule["tolerance"] * before:
                return samples, True
            if time.perf_counter() >= deadline:
                return samples, False
        before = middle


def timer():
    """Cost and smallest step of the clock, in ns: what a sample cannot be finer than."""
    clock = time.perf_counter_ns
    steps = sorted(-(clock() - clock()) for _ in range(2000))
    return {"overhead_ns": steps[len(steps) // 2], "resolution_ns": next((step for step in steps if step), 0)}


def measure(request):
    """Latency and memory of one model, each phase apart, raw."""
    points = {"start": memory()}
    module, runtime = open_runtime(request["runtime"])
    points["imported"] = memory()
    before = conditions()
    meter = find_meter(request.get("meter"))
    idle = idle_watts(meter) if meter is not None else None
    arrays = load_arrays(request["inputs"]) if request["inputs"] else None
    model = Model(module, request["model"], request, arrays)
    points["loaded"] = memory()
    feeds = model_feeds(model, arrays, request["seed"])
    model.feed(feeds[0])
    gc.collect()
    gc.disable()
    invoke, prepare = measured_call(model, feeds, request.get("with_io"))
    first = model._guard("invoke", timed, invoke, 1, 1, 0, 0)
    points["first"] = memory()
    warm, stable = warm_up(invoke, request["warm_up"], prepare)
    watch = Watch(meter=meter)
    if meter is not None:
        meter.start()
    samples = steady(invoke, request, watch, prepare)
    energy = {"meter": meter.path, "idle_watts": idle, **meter.stop()} if meter is not None else None
    processor = watch.processor()
    points["end"] = memory()
    return {
        "machine": machine(),
        "runtime": runtime,
        "before": before,
        "after": conditions(),
        "timer": timer(),
        "load_ns": model.load_ns,
        "first_ns": first[0],
        "warm_up_ns": warm.tolist(),
        "warm_up_stable": stable,
        "steady_ns": samples.tolist(),
        "timeline": watch.looks,
        "processor": processor,
        "energy": energy,
        "memory": points,
        "cpus": usable_cores(),
        "delegations": model.delegations(),
        "delegate_partitions": model.partitions(),
        **model.contract(),
    }


def model_feeds(model, arrays, seed):
    """The arrays of each run, in turn: of all given samples, or one with random numbers."""
    if not arrays:
        return [[random_input(detail, seed + index * 2**32) for index, detail in enumerate(model.inputs)]]
    return [
        [take(values, first, model, detail) for values, detail in zip(arrays, model.inputs)]
        for first in range(0, len(arrays[0]), model.rows)
    ]


def measured_call(model, feeds, with_io):
    """What is timed, and what is done before it outside of the time: the next sample goes in, if there are several."""
    turns = cycle(feeds)
    if with_io:
        return (lambda: model.run(next(turns))), None
    return model.interpreter.invoke, (lambda: model.feed(next(turns))) if len(feeds) > 1 else None


def alternate(request):
    """Times of several models, all loaded here, in short turns whose order is turned round each time."""
    module, runtime = open_runtime(request["runtime"])
    models = [Model(module, path, request) for path in request["models"]]
    for model in models:
        model.feed(model_feeds(model, None, request["seed"])[0])
        model._guard("invoke", timed, model.interpreter.invoke, 2, 1000, request["turn_seconds"], math.inf)
    gc.collect()
    gc.disable()
    samples, runs, order = [array("q") for _ in models], [[] for _ in models], list(range(len(models)))
    if request["reverse"]:
        order.reverse()
    deadline = time.perf_counter() + request["seconds"]
    for turn in range(request["turns"]):
        leave_if_orphaned()
        if turn and turn % 2 == 0 and time.perf_counter() > deadline:
            break
        for index in order:
            times = timed(models[index].interpreter.invoke, 3, 10000, request["turn_seconds"], math.inf)
            samples[index] += times[1:]
            runs[index].append(len(times) - 1)
        order.reverse()
    return {
        "runtime": runtime,
        "steady_ns": [times.tolist() for times in samples],
        "turn_runs": runs,
        "delegations": [model.delegations() for model in models],
        "delegate_partitions": [model.partitions() for model in models],
    }


# ---------------------------------------------------------------- the rim


def leave_if_orphaned():
    """End this process when the one that started it is gone."""
    if os.getppid() != PARENT:
        sys.exit("the process that started the agent is gone")


def answer(request):
    """The answer to one request."""
    commands = {"describe": describe, "infer": infer, "measure": measure, "alternate": alternate}
    try:
        if request.get("command") not in commands:
            raise Refused("request", f"unknown command {request.get('command')!r}: known are {sorted(commands)}")
        if np is None:
            raise Refused("runtime", f"{sys.executable} has no usable numpy: {NUMPY_FAULT}")
        if request.get("cpus"):
            pin(request["cpus"])
        return commands[request["command"]](request)
    except Refused as refusal:
        return {"error": {"kind": refusal.kind, "message": str(refusal)}}
    except MemoryError as cause:
        return {"error": {"kind": "memory", "message": f"out of memory: {cause}"}}


def main():
    """Read the request, answer it, and put the answer in its place in one step."""
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    result = {"format_version": FORMAT_VERSION, "command": request.get("command"), **answer(request)}
    partial = request["response"] + ".partial"
    with open(partial, "w", encoding="utf-8") as file:
        json.dump(result, file)
    os.replace(partial, request["response"])


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the runtime swallows what Python makes of it
    main()
