-- A day whose rows come in two files is closed twice: the later version stands, the earlier one is history.
alter table segments.thresholds drop constraint thresholds_run_id_day_key;
create index thresholds_day on segments.thresholds (run_id, day, version desc);
comment on table segments.thresholds is
    'An epoch per day, decided when the day was closed, never changed. Rows of the last closed day that come later lead to another of the same day: its highest version stands.';
comment on column segments.owner.is_closed is 'true: the thresholds of as_of_day are published, and no row has come since';
