// OpenAI's Node library, as it is, against the gateway that CLIENT_BASE_URL
// names. CLIENT_API_KEY is a right key and CLIENT_MODEL a model that simulated
// servers serve behind the gateway. Prints one line per check; status 1 if one
// failed.

import { runAll } from "./checks.mjs";
import "./files.mjs";
import "./batches.mjs";
import "./live.mjs";

process.exitCode = (await runAll()) ? 0 : 1;
