// What a checkpoint manager in plain JavaScript usually does, written for comparison: everything is
// one object, printed by JSON.stringify, put in place by temp file and rename, and never synced.
// It is our own code; it leaves out the faults that such managers have and keeps their costs.

import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';

const KEEP = 5;

/**
 * @param {string} file
 * @param {unknown} value
 */
async function replace(file, value) {
  const staged = `${file}.tmp.${Date.now()}.${randomBytes(4).toString('hex')}`;
  await fs.writeFile(staged, JSON.stringify(value, null, 2), 'utf8');
  await fs.rename(staged, file);
}

/** @param {string} file */
async function read(file) {
  return JSON.parse(await fs.readFile(file, 'utf8'));
}

/**
 * @param {string} folder the run's
 * @param {number} step
 * @param {unknown} state
 * @returns {Promise<{ manifest: string, registry: string }>} the files it wrote
 */
export async function createCheckpoint(folder, step, state) {
  const record = await read(path.join(folder, 'run.json'));
  const registryFile = path.join(folder, 'artifact-registry.json');
  const registry = await read(registryFile);
  const id = `checkpoint-step-${step}-${Date.now()}-${randomBytes(3).toString('hex')}`;
  const artifacts = Object.values(registry.artifacts);
  const rest = {
    checkpoint_id: id,
    run_id: record.run_id,
    workflow_id: record.workflow_id,
    step,
    timestamp: new Date().toISOString(),
    run_record: record,
    artifact_registry: registry,
    step_state: state,
    artifacts_at_checkpoint: Object.keys(registry.artifacts),
    validation_summary: {
      total_artifacts: artifacts.length,
      validated_artifacts: artifacts.filter((one) => one.metadata.validation_status === 'pass')
        .length,
      failed_validations: artifacts.filter((one) => one.metadata.validation_status === 'fail')
        .length,
    },
    recovery_instructions: ['restore it', 'check it', 'go on', 'see the documentation'],
  };
  const checksum = createHash('sha256').update(JSON.stringify(rest)).digest('hex');
  const checkpoints = path.join(folder, 'checkpoints');
  await fs.mkdir(checkpoints, { recursive: true });
  const manifest = path.join(checkpoints, `${id}.json`);
  await replace(manifest, {
    ...rest,
    metadata: { checksum, created_by: 'checkpoint-manager', version: '1.0.0' },
  });

  const names = (await fs.readdir(checkpoints)).filter((name) => name.endsWith('.json'));
  const aged = await Promise.all(
    names.map(async (name) => ({
      name,
      at: (await fs.stat(path.join(checkpoints, name))).mtimeMs,
    })),
  );
  aged.sort((left, right) => right.at - left.at);
  for (const { name } of aged.slice(KEEP)) {
    await fs.unlink(path.join(checkpoints, name));
    delete registry.artifacts[name];
  }
  const now = new Date().toISOString();
  registry.artifacts[`${id}.json`] = {
    name: `${id}.json`,
    step,
    agent: 'checkpoint-manager',
    created_at: now,
    updated_at: now,
    path: manifest,
    dependencies: [],
    version: 1,
    validationStatus: 'pass',
    metadata: { type: 'checkpoint', validation_status: 'pass' },
  };
  registry.updated_at = now;
  await replace(registryFile, registry);
  return { manifest, registry: registryFile };
}
