"""Documents with files, which are in an object store.

A client sends a file in a form, or directly to the object store. Besides the modules that every
entity has, there are modules for

- forms: `incoming` receives a form, which `app.core.multipart` parses, and `upload` sends its file
  to the store while it arrives;
- direct uploads: `direct_uploads` creates and reads them, `direct_upload_completion` completes
  them, `direct_upload_repository` has their SQL, and `direct_upload_router` their endpoints;
- files of both kinds: `lifecycle` keeps the store consistent with the database,
  `stored_object_repository` has its SQL, and `file_fields` has the types of filenames and media
  types;
- operators: `sweeper` removes what requests have left behind, `storage_audit` counts objects that
  the database does not know, with the SQL of `unknown_object_repository`, and `verification` finds
  files that the store does not have, and undeletes them;
- limits of each owner: `quotas`.
"""
