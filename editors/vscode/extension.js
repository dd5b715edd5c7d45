// Starts `dsl lsp` and lets it answer for .us files.

const vscode = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

/** The words of the setting `unspool.command`, with the open folder put in. */
function command() {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? "";
  return vscode.workspace
    .getConfiguration("unspool")
    .get("command")
    .map((word) => word.replaceAll("${workspaceFolder}", folder));
}

async function start() {
  const [program, ...words] = command();
  const watcher = vscode.workspace.createFileSystemWatcher("**/*.us");
  client = new LanguageClient(
    "unspool",
    "Unspool",
    { command: program, args: words },
    {
      documentSelector: [
        { scheme: "file", language: "unspool" },
        { scheme: "untitled", language: "unspool" },
      ],
      synchronize: { fileEvents: watcher },
    },
  );
  try {
    await client.start();
  } catch (error) {
    const how = "pip install 'unspool[lsp]', or set unspool.command to the dsl of your environment";
    vscode.window.showErrorMessage(`Unspool: ${[program, ...words].join(" ")} did not start: ${how} (${error.message ?? error})`);
  }
}

async function stop() {
  if (client?.isRunning()) await client.stop();
}

async function activate(context) {
  context.subscriptions.push(
    vscode.commands.registerCommand("unspool.restart", async () => {
      await stop();
      await start();
    }),
    vscode.workspace.onDidChangeConfiguration(async (event) => {
      if (event.affectsConfiguration("unspool.command")) {
        await stop();
        await start();
      }
    }),
  );
  await start();
}

module.exports = { activate, deactivate: stop };
