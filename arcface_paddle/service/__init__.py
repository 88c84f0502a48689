"""The HTTP service: faces found, compared and named for others, and a gallery of people kept for them.

``app.create_app(settings)`` makes the application, ``client.ServiceClient`` calls one. A route parses, calls one
function and answers with a schema; what is worth knowing lies in ``inference`` (workers and batches), ``gallery_store``
(people and their faces), ``keys`` (who may do what) and ``errors`` (the table of statuses).
"""
