# Validates the config and names files; no step's work is done here.
import json
import os
import shlex
import shutil
from pathlib import Path

from scsw.code_hash import code_hash
from scsw.cohort import sources
from scsw.cohort.request import TABLES
from scsw.errors import ScswError
from scsw.fetch.checkpoint.address import FILES as CHECKPOINT_FILES
from scsw.fetch.places import fetched_files
from scsw.named_files import check_named_files
from scsw.settings import StepSettings, parse_settings, validate_config
from snakemake.exceptions import WorkflowError

try:
    for path in workflow.configfiles:
        parse_settings(str(path))  # Snakemake itself takes the last of two sections of one name
    CONFIG = validate_config(config)
    check_named_files(CONFIG)
except ScswError as error:
    raise WorkflowError(str(error))
if workflow.resource_settings.cores == 0:
    raise WorkflowError("--cores is 0, so no job could ever start. Give at least 1.")

RUN = f"{CONFIG['results']}/{CONFIG['run']}"
COHORTS = {cohort["name"]: cohort for cohort in CONFIG["cohorts"]}
BULK = {entry["name"]: entry for entry in CONFIG["external"]["bulk"]}
TISSUE = CONFIG["spatial"]
MODEL = f"{RUN}/{{cohort}}/{{arm}}/{{seed}}"
SIMULATED = "--simulated" if CONFIG["simulated"] else ""
SCREEN_FILES = [
    f"{MODEL}/search/screen/{name}"
    for name in ("spiking.parquet", "first_order.parquet", "by_type.parquet", "effects.npz")
]
CHECKPOINT = CONFIG["model"]["checkpoint"]
CHECKPOINT_INPUT = [f"{CHECKPOINT}/{name}" for name in CHECKPOINT_FILES] if CHECKPOINT else []
UNTUNED = ("untrained", "pretrained")
IMPLANTED = ("implanted_constant", "implanted_informative")

# One job on a GPU at a time; on CPU the model steps run side by side.
USES_GPU = CONFIG["compute"]["device"] == "cuda" or (
    CONFIG["compute"]["device"] == "auto" and shutil.which("nvidia-smi") is not None
)
MODEL_THREADS = CONFIG["compute"]["cpu_threads"]


wildcard_constraints:
    cohort="|".join(COHORTS),
    bulk="|".join(BULK) or "none",
    arm="real|pretrained|untrained|implanted_constant|implanted_informative|shuffled",
    seed=r"\d+",
    shard=r"\d+",


def settings(*names, **keys):
    """JSON of config sections, and of `keys` of others: the only settings a step depends on."""
    parts = {section: {key: CONFIG[section][key] for key in keys[section]} for section in keys}
    chosen = {name: CONFIG[name] for name in names} | parts
    text = StepSettings(json.dumps(chosen, sort_keys=True))
    return lambda wildcards: text  # of a text Snakemake would make one of its own


def seeds(cohort):
    """Seeds of a cohort's real arm."""
    return COHORTS[cohort]["seeds"] or CONFIG["seeds"]


def control_arms(cohort):
    """Control arms of a cohort; each runs on the first seed."""
    own = COHORTS[cohort]["control_arms"]
    return CONFIG["control_arms"] if own is None else own


def real_folders(cohort):
    return [f"{RUN}/{cohort}/real/{seed}" for seed in seeds(cohort)]


def control_folders(cohort):
    return [f"{RUN}/{cohort}/{arm}/{seeds(cohort)[0]}" for arm in control_arms(cohort)]


def quantized_folders(cohort):
    """Models whose weights are rounded: the fine-tuned ones and those with an implanted weight."""
    return real_folders(cohort) + [
        folder for folder in control_folders(cohort) if Path(folder).parent.name in IMPLANTED
    ]


def tables_of(cohort):
    """The tables beside the counts that the config names, by role."""
    return {role: cohort[key] for role, key in TABLES.items() if cohort[key]}


def cohort_files(cohort):
    """The files that a cohort is read from.

    Those that are fetched are named by the config: asking the reader, whose answer may be another
    once a file exists, would run the step again.
    """
    if fetched := fetched_files(cohort):
        return [*fetched, *tables_of(cohort).values()]
    return sources.input_files(
        cohort["source"], cohort["path"], tables_of(cohort), cohort["columns"]
    )


def bulk_files(entry):
    """The files that a cohort of bulk expression is read from."""
    keys = {"clinical": "clinical", "donors": "donor_table"}
    tables = {role: entry[key] for role, key in keys.items() if entry[key]}
    return sources.input_files(entry["source"], entry["path"], tables)


def bulk_options(entry):
    names = [name for name in ("clinical", "donor_table") if entry[name]]
    return " ".join(f"--{n.replace('_', '-')} {shlex.quote(entry[n])}" for n in names)


def preprocess_code(cohort):
    """Hash of the step's code and of the cohort's reader, which is loaded by its name."""
    name = sources.expected(cohort["source"], cohort["path"], cohort["columns"])
    readers = [f"scsw.cohort.readers.{name}"] if name else []
    return code_hash("scsw.cohort.preprocess", *readers)


# Here and not in the rules, where a mistake would be told with a traceback.
try:
    COHORT_FILES = {name: cohort_files(cohort) for name, cohort in COHORTS.items()}
    BULK_FILES = {name: bulk_files(entry) for name, entry in BULK.items()}
    PREPROCESS_CODE = {name: preprocess_code(cohort) for name, cohort in COHORTS.items()}
except ScswError as error:
    raise WorkflowError(str(error))


def request_options(cohort):
    """Options of `scsw preprocess` that say how a cohort departs from its public layout."""
    names = ("source", "clinical", "cell_table", "donor_table", "cps_table", "counts")
    given = {name: cohort[name] for name in names if cohort[name]}
    given |= {name: json.dumps(cohort[name]) for name in ("columns", "values") if cohort[name]}
    return " ".join(
        f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in given.items()
    )


def simulated_path(source):
    """What `scsw simulate` is asked to write: a folder for ROSMAP, otherwise the file."""
    if source == "rosmap":
        return lambda wildcards, output: os.path.dirname(output[0])
    return lambda wildcards, output: output[0]


def simulate_options(cohort):
    return " ".join(
        f"--{key.replace('_', '-')} {value}" for key, value in sorted(cohort["simulate"].items())
    )


def start_of(wildcards):
    """The folder that fine-tuning starts from."""
    return f"{MODEL}/implant" if wildcards.arm in IMPLANTED else f"{MODEL}/init"


def model_of(wildcards):
    """The model that is searched; an arm without fine-tuning is searched as it starts."""
    return f"{MODEL}/init" if wildcards.arm in UNTUNED else f"{MODEL}/model"


def searched_start(wildcards):
    """The folder that a fine-tuned model started from: what spikes there is inherited."""
    return [] if wildcards.arm in UNTUNED else start_of(wildcards)


def screened(wildcards):
    """Screen and slopes of a search in shards, screen first; nothing where it is one job."""
    n = CONFIG["search"]["shards"]
    slopes = [f"{MODEL}/search/screen/slopes/{shard}-of-{n}.parquet" for shard in range(n)]
    return SCREEN_FILES + slopes if n > 1 else []


def screen_option(wildcards, input):
    """Option of `scsw search` that names the folder of `screened`."""
    return f"--screen {shlex.quote(os.path.dirname(input.screen[0]))}" if input.screen else ""


def enriched_shards(wildcards):
    """The shards of a model's enrichment; nothing where it is one job."""
    n = CONFIG["enrich"]["shards"]
    files = [f"{MODEL}/enrich/shards/{shard}-of-{n}.parquet" for shard in range(n)]
    return files if n > 1 else []


def shards_option(wildcards, input):
    """Option of `scsw enrich` that names the folder of `enriched_shards`."""
    return f"--shards {shlex.quote(os.path.dirname(input.shards[0]))}" if input.shards else ""


def others(cohort):
    """The run's other cohorts, in which a cohort's genes are tested against diagnosis."""
    return [name for name in COHORTS if name != cohort]


def external_tables(cohort):
    """Tables of what is shown outside the cohort itself, where the config gives anything."""
    tables = [f"{RUN}/{cohort}/external.parquet"] if others(cohort) or BULK else []
    return tables + ([f"{RUN}/{cohort}/spatial.parquet"] if TISSUE["path"] else [])


def provenance(folder, step):
    return f"{folder}/{step}.provenance.json"
