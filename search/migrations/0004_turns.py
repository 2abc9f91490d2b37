from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('gallery', '0003_resumable_uploads'),
        ('search', '0003_loaded_towers'),
    ]

    operations = [
        migrations.AddField(
            model_name='photoindexing',
            name='owner_id',
            field=models.BigIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name='photoindexing',
            name='priority',
            field=models.SmallIntegerField(choices=[(0, 'somebody waits for it'), (1, 'an import'), (2, 'made anew, while there is something to go on with')], db_default=0, default=0, editable=False),
        ),
        # Where it is asked for: of what waits.
        migrations.RunSQL(
            """
            UPDATE search_photoindexing row SET owner_id = photo.owner_id
            FROM gallery_photo photo
            WHERE photo.id = row.photo_id AND row.state = 'pending'
            """,
            migrations.RunSQL.noop,
        ),
    ]
