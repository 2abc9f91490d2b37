from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('gallery', '0006_turns_index'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='photo',
            index=models.Index(models.F('owner'), condition=models.Q(('state', 'failed')), name='gallery_photo_failed'),
        ),
    ]
