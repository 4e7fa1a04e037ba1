export * from '../index.js';
// Named once more: are-the-types-wrong does not look through `export *`.
export {
  CheckpointManager,
  createCheckpoint,
  default,
  listCheckpoints,
  restoreFromCheckpoint,
  restoreReport,
  WaymarkError,
} from '../index.js';
