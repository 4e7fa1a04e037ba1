import dropIn from './checkpoint-manager.js';

export const {
  createCheckpoint,
  restoreFromCheckpoint,
  listCheckpoints,
  CheckpointManager,
  WaymarkError,
} = dropIn;
export default dropIn;
