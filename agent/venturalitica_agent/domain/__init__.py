"""Words of the design as frozen dataclasses. Pure: nothing here does IO."""
